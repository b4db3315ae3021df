// One push on its way: see git_host.hpp for the steps.
#pragma once

#include <string>
#include <vector>

#include "api/git_host.hpp"
#include "api/push_options.hpp"
#include "wick/os/fd.hpp"

namespace wick::api {

class GitPush {
 public:
  GitPush(GitHost& host, http::Exchange& exchange, std::string name_space, std::string name,
          build::PushRequest request);
  GitPush(const GitPush&) = delete;
  ~GitPush();

  /// What stands before the pack, as git is to read it: every ref made under refs/wick/incoming.
  std::string head_for_git() const;
  /// `pack`: a file with that head and the pack. Writes the whole answer, its end excepted.
  awaitable<void> run(Fd pack);

 private:
  struct Ref {
    build::RefCommand command;
    std::string incoming;     // its name until it is accepted
    std::string reason;       // why it was refused; empty so far
    bool previewed = false;   // it becomes a preview
    bool only_built = false;  // as the option no-deploy says; it does not move
  };
  awaitable<Result<void>> decide(Fd pack);
  awaitable<Result<void>> receive(const Fd& pack);
  void choose_branch();
  awaitable<void> check_commits();
  /// As what is served, or as a preview; a failure is the ref's reason.
  awaitable<void> deploy(Ref& ref);
  awaitable<void> end_previews();
  awaitable<Result<std::string>> upload_source(const std::string& commit);
  awaitable<Result<void>> move_refs();
  void refuse_all(const std::string& reason);
  bool is_any_left() const;
  Ref* deployed();

  awaitable<void> say(std::string line);
  awaitable<void> report(const std::string& unpack_reason);

  GitHost& host_;
  const Doors& doors_;
  http::Exchange& exchange_;
  std::string name_space_;
  std::string name_;
  build::PushRequest request_;
  std::vector<Ref> refs_;
  PushOptions options_;
  std::string branch_;  // that is deployed; empty: none of them
  build::GitRepository repository_;
  bool locked_ = false;
};

}  // namespace wick::api
