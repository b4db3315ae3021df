// `wick git`: the remote of a service that `git push` deploys to, and the branch that counts.
#include <fmt/format.h>

#include <filesystem>

#include "app/cli/git_build.hpp"
#include "app/cli/git_handles.hpp"
#include "app/cli/source.hpp"
#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace {

namespace fs = std::filesystem;

constexpr const char* branch_annotation = "wick.dev/git-branch";

using OpenRepository = GitHandle<git_repository, git_repository_free>;
using OpenConfig = GitHandle<git_config, git_config_free>;
using KnownRemote = GitHandle<git_remote, git_remote_free>;

Problem git_problem(std::string what) {
  const auto* last = git_error_last();
  Problem problem{.exit = ExitCode::failed, .what = std::move(what), .slug = "E_IO"};
  if (last && last->message) problem.because = last->message;
  problem.hint = "is the repository yours, and its disk writable?";
  return problem;
}

/// For the shell that git runs a credential helper with.
std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Outcome<std::string> api_address(Session& session) {
  auto info = session.client.get("/apis/wick.dev/v1/info");
  if (!info) return stop_with(std::move(info.error()));
  auto listen = text_at(*info, "/apiListen");
  if (!listen.empty()) return listen;
  return stop_with({.exit = ExitCode::failed,
                    .what = "there is nothing that git could push to",
                    .slug = "E_UNAVAILABLE",
                    .because = "the daemon was started with --api-listen none",
                    .last_output = {},
                    .notes = {},
                    .hint = "start it without that flag"});
}

/// The token in a file that only its owner reads, which git's own `store` helper is told of for this address alone.
Outcome<void> keep_credentials(git_repository* repository, const std::string& address, const std::string& token) {
  const auto file = (fs::path(git_repository_commondir(repository)) / "wick-credentials").string();
  if (auto written = write_file_atomically(file, fmt::format("http://wick:{}@{}\n", token, address), 0600); !written)
    return stop_with(problem_of(written.error()));
  git_config* raw = nullptr;
  if (git_repository_config(&raw, repository) != 0) return stop_with(git_problem("git's configuration was not read"));
  const OpenConfig config(raw);
  const auto key = fmt::format("credential.http://{}.helper", address);
  if (git_config_set_string(raw, key.c_str(), ("store --file=" + shell_quoted(file)).c_str()) != 0)
    return stop_with(git_problem("git's configuration was not written"));
  return {};
}

Outcome<void> add_remote(Session& session, const GitRemoteOptions& options, const std::string& address,
                         const std::string& url) {
  const GitLibrary library;
  git_repository* raw = nullptr;
  if (git_repository_open_ext(&raw, ".", 0, nullptr) != 0)
    return stop_with({.exit = ExitCode::not_found,
                      .what = "this folder is in no git repository",
                      .slug = "E_NOT_FOUND",
                      .because = {},
                      .last_output = {},
                      .notes = {},
                      .hint = "git init here, or go to the repository first; wick deploy needs none"});
  const OpenRepository repository(raw);
  git_remote* known = nullptr;
  if (git_remote_lookup(&known, raw, options.remote.c_str()) == 0) {
    const KnownRemote remote(known);
    const auto* now = git_remote_url(known);
    if (now == nullptr || url != now)
      return stop_with({.exit = ExitCode::refused,
                        .what = fmt::format("the remote {} is {} already", options.remote, now ? now : "something"),
                        .slug = "E_ALREADY_EXISTS",
                        .because = {},
                        .last_output = {},
                        .notes = {},
                        .hint = fmt::format("git remote rm {}, or another name: --remote NAME", options.remote)});
  } else if (git_remote_create(&known, raw, options.remote.c_str(), url.c_str()) == 0) {
    git_remote_free(known);
  } else {
    return stop_with(git_problem(fmt::format("the remote {} was not made", options.remote)));
  }
  auto made = session.client.post(
      "/apis/wick.dev/v1/tokens",
      json::object{{"name", "git " + options.name}, {"scope", "deploy"}, {"namespace", session.name_space}});
  if (!made) return stop_with(std::move(made.error()).within("no token was made for git"));
  if (auto kept = keep_credentials(raw, address, text_at(*made, "/token")); !kept) return kept;
  session.terminal.result(fmt::format("{} {}", options.remote, url));
  session.terminal.say(fmt::format("deploy with: git push {} main", options.remote));
  return {};
}

}  // namespace

Outcome<void> git_remote_of(Session& session, GitRemoteOptions options) {
  if (options.name.empty()) {
    std::error_code error;
    options.name = label_from(fs::current_path(error).filename().string());
  }
  if (!is_dns_label(options.name))
    return stop_with(usage_problem(fmt::format("'{}' is not a service name", options.name),
                                   "a to z, 0 to 9 and '-', at most 63, starting with a letter"));
  auto address = api_address(session);
  if (!address) return stop_with(std::move(address.error()));
  const auto url = fmt::format("http://{}/git/{}/{}.git", *address, session.name_space, options.name);
  if (options.add) return add_remote(session, options, *address, url);
  if (session.json) {
    print_document(session, json::object{{"service", options.name}, {"url", url}});
    return {};
  }
  session.terminal.result(url);
  session.terminal.say("hint: --add makes it the remote \"wick\" of this repository, with a token that may deploy");
  return {};
}

Outcome<void> git_branch_of(Session& session, const std::string& name, const std::string& branch) {
  if (branch.empty()) {
    auto service = session.client.get(service_path(session.name_space, name));
    if (!service) return stop_with(std::move(service.error()));
    const auto chosen = text_at(*service, "/metadata/annotations/wick.dev~1git-branch");
    session.terminal.result(chosen.empty() ? "main or master" : chosen);
    return {};
  }
  const json::value patch{{"metadata", {{"annotations", {{branch_annotation, branch}}}}}};
  auto written = session.client.merge_patch(service_path(session.name_space, name), patch);
  if (!written) return stop_with(std::move(written.error()));
  session.terminal.result(fmt::format("{} deploys {}", name, branch));
  return {};
}

Outcome<void> git_follow_of(Session& session, const std::string& name, const std::string& interval) {
  if (!interval.empty()) {
    if (auto set = follow_last_deploy(session, name, interval); !set) return set;
    session.terminal.result(interval == "off" ? fmt::format("{} follows no branch", name)
                                              : fmt::format("{} follows its branch every {}", name, interval));
    return {};
  }
  auto build = session.client.find(resource_path("shipwright.io/v1beta1", session.name_space, "builds", name));
  if (!build) return stop_with(std::move(build.error()));
  const auto every = *build ? text_at(**build, "/metadata/annotations/wick.dev~1follow") : std::string();
  const auto* followed = *build ? condition_of(**build, "Followed") : nullptr;
  if (session.json) {
    print_document(session, json::object{{"interval", every},
                                         {"commit", *build ? text_at(**build, "/status/commit") : std::string()},
                                         {"followed", followed ? text_at(*followed, "/status") : std::string()},
                                         {"message", followed ? text_at(*followed, "/message") : std::string()}});
    return {};
  }
  if (every.empty()) {
    session.terminal.result(fmt::format("{} follows no branch", name));
    return {};
  }
  session.terminal.result(fmt::format("every {}  {}  {}", every, followed ? text_at(*followed, "/reason") : "Waiting",
                                      followed ? safe_line(text_at(*followed, "/message")) : ""));
  return {};
}

}  // namespace wick::app::cli
