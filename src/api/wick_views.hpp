// Wick's own side of the API, /apis/wick.dev/v1: what Kubernetes has no resource for.
#pragma once

#include "api/routes.hpp"
#include "wick/api/api.hpp"

namespace wick::api {

/// POST namespaces/NS/uploads: a tar body into S/uploads/<sha256>.
awaitable<void> take_upload(const Doors& doors, http::Exchange& exchange);
/// Makes the folder of uploads, and removes those that no build wants any more. Blocks. Errors: unavailable (the disk
/// is nearly full), io.
Result<void> prepare_uploads(const std::filesystem::path& folder);
/// POST namespaces/NS/buildsecrets: {"secrets": {"ID": "BASE64"}}; answers the ticket for the BuildRun's annotation
/// wick.dev/build-secrets.
awaitable<void> take_build_secrets(const Doors& doors, http::Exchange& exchange, std::string name_space);
/// GET namespaces/NS/buildruns/NAME/log.
awaitable<void> build_run_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET namespaces/NS/services/NAME/log.
awaitable<void> service_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET namespaces/NS/services/NAME/why.
awaitable<void> why(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET namespaces/NS/ps.
awaitable<void> ps(const Doors& doors, http::Exchange& exchange, std::string name_space);
/// ANY namespaces/NS/services/NAME/proxy/PATH: one request to the service, waking it when it sleeps.
awaitable<void> invoke(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// POST and GET namespaces/NS/brokers/NAME/events.
awaitable<void> publish_event(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
awaitable<void> tail_events(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET namespaces/NS/brokers/NAME/log?after=&count=: stored events, oldest first.
awaitable<void> list_events(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name);
/// GET namespaces/NS/events/ID: what became of an event.
awaitable<void> why_event(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string id);
/// POST namespaces/NS/triggers/NAME/replay?first=&last=: positions of the log once more.
awaitable<void> replay_events(const Doors& doors, http::Exchange& exchange, std::string name_space,
                              std::string trigger);
/// POST namespaces/NS/sendertokens: {"serviceAccount", "audience", "ttlSeconds"}.
awaitable<void> make_sender_token(const Doors& doors, http::Exchange& exchange, std::string name_space);
/// GET namespaces/NS/deadletters?count=.
awaitable<void> list_dead_letters(const Doors& doors, http::Exchange& exchange, std::string name_space);
/// POST namespaces/NS/deadletters/retry and /purge?trigger=&position=: all of a trigger, or one.
awaitable<void> settle_dead_letters(const Doors& doors, http::Exchange& exchange, std::string name_space,
                                    std::string verb);

/// The routes of all of these, and of info and doctor. `doors` outlives them.
std::vector<Route> wick_routes(const Doors& doors);

}  // namespace wick::api
