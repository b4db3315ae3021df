// Webhooks of forges: POST /.well-known/wick/webhooks/NAMESPACE/NAME on every name that the edge serves, and on the
// API's listeners. NAME is a Secret of the type wick.dev/webhook, a name that nobody can guess:
//
//   data:  secret     what deliveries are signed with
//          provider   github, gitlab, gitea or generic
//          service    the Service that is deployed
//          build      the Build (shipwright.io/v1beta1) whose git source is fetched
//          branch     the branch that counts; empty: the Build's revision, else the repository's default branch
//
// POST …/NAMESPACE/sources/UID is a WebhookSource's: with the same rules the delivery becomes an event, and is
// answered with 202 once that is on disk.
//
// Other branches that the Service's wick.dev/previews names become previews, and end when a delivery says that the
// branch was deleted. Only pushes to the repository itself are told of with this secret, so what comes from a fork is
// none.
//
// A delivery only rings: what is fetched, and from where, the Build says; it is the head of the branch, so that an old
// delivery that somebody repeats brings nothing old back. In this order, each with its answer:
//   405 no POST · 401 no such webhook, or a signature that does not fit (nobody is told which) · 503 four bodies are
//   held already · 413 over 25 MB · 408 too slow · 429 more than 60 deliveries a minute · 403 GitLab's token in clear
//   from outside · 200 a ping, another event, a repetition, another branch, a commit that was built · 400 no push ·
//   409 the Service or the Build is gone, or it has no git source · 202 with the BuildRun
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "wick/api/api.hpp"
#include "wick/model/webhook.hpp"

namespace wick::api {

class Webhooks;
/// The references of `doors` outlive it, and its database was opened with migrations(): there stands which deliveries
/// were here. Its calls are made on the loop of doors.executor. Errors: of the database.
Result<std::shared_ptr<Webhooks>> make_webhooks(Doors doors);

/// Answers what is for a webhook, on whatever loop it came, and leaves the rest to `next`.
http::Handler answering_webhooks(std::shared_ptr<Webhooks> webhooks, http::Handler next);

}  // namespace wick::api
