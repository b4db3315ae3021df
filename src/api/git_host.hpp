// `git push wick main` deploys: every Service has a repository under /git/NAMESPACE/NAME.git (git's smart HTTP,
// gitprotocol-http), and a push to its branch succeeds only when what was pushed is built and ready.
//
//   GET  info/refs?service=git-receive-pack   refs: branches and tags
//   POST git-receive-pack                     commands and a pack, see below
//   GET  info/refs?service=git-upload-pack    clone and fetch
//   POST git-upload-pack
//
// A push is received in this order; each step that fails refuses it, and no branch has moved then:
//   1. The head of the push is read (PushLimits), the pack goes to a file as it comes.
//   2. git, confined to the repository, takes the pack and names what it brings refs/wick/incoming/…
//   3. The commit of the deployed branch becomes the source of a BuildRun with a deploy in it, whose log is the
//   pusher's
//      progress. Who goes away leaves the deploy alone: it ends as it would have.
//   4. The branches move, all that were accepted at once.
// The deployed branch is main or master, or what the Service's annotation wick.dev/git-branch says. Others that its
// wick.dev/previews names become previews, as in step 3, and end with the branch; the rest are kept. A
// repository without a Service is one that was removed, or that never came to be: it begins anew.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "api/ordered_deploy.hpp"
#include "api/routes.hpp"
#include "wick/build/git_repository.hpp"
#include "wick/os/slots.hpp"

namespace wick::api {

inline constexpr std::string_view git_branch_annotation = "wick.dev/git-branch";

class GitHost {
 public:
  /// `doors` outlives it.
  explicit GitHost(const Doors& doors);

  /// `may_push`: of who asks.
  awaitable<void> list_refs(http::Exchange& exchange, std::string name_space, std::string name, bool may_push);
  awaitable<void> take_push(http::Exchange& exchange, std::string name_space, std::string name);
  awaitable<void> serve_fetch(http::Exchange& exchange, std::string name_space, std::string name);

 private:
  std::filesystem::path folder_of(const std::string& name_space, const std::string& name) const;
  awaitable<Result<void>> begin_anew(std::string name_space, std::string name);
  awaitable<Result<Fd>> body_to_file(http::Exchange& exchange, std::string begin, std::uint64_t bytes_max);

  const Doors& doors_;
  Slots receiving_;
  std::set<std::filesystem::path> busy_;  // repositories that something is pushed to

  friend class GitPush;
};

/// Pure: the branch of these commands that is deployed, "" for none. `annotation` is the Service's own choice.
std::string deployed_branch(const std::vector<build::RefCommand>& commands, std::string_view annotation);

/// 401 and 403 as git shows them to people, and asks for a password.
awaitable<void> respond_git_failure(http::Exchange& exchange, int status, std::string text);

/// `caller_of` gives who asks, of an exchange that a route handles.
std::vector<Route> git_routes(const Doors& doors, std::function<const Caller&(http::Exchange&)> caller_of);

}  // namespace wick::api
