// What a delivery is as a CloudEvent. Pure.
//
//   github   type dev.knative.source.github.EVENT     source the repository's page   as Knative's GitHubSource has it
//   gitlab   type dev.knative.sources.gitlab.EVENT    source the project's page      as Knative's GitLabSource
//   gitea    type dev.wick.source.gitea.EVENT         source the repository's page
//   generic  type dev.wick.source.webhook             source the WebhookSource
//
// The id is the forge's number for the delivery, so that a repetition is one; the data is the body as it came. Where
// something has a number (an issue, a pull request) or a ref, that is the subject.
#pragma once

#include <string>
#include <string_view>

#include "api/webhook.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::api {

/// "push", "pull_request"; "" for a generic delivery, and where the forge names none.
std::string event_name_of(Forge forge, const http::Fields& fields);

/// `own_source` is the source where the body names none. `time` is left to the caller.
eventing::CloudEvent event_of_delivery(Forge forge, const http::Fields& fields, std::string body,
                                       std::string_view own_source);

}  // namespace wick::api
