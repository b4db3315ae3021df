// libgit2, used narrowly: one ref of one repository, its tree written as plain files. No hooks, no filters, no
// submodules, no checkout code of the library, no configuration but what is set here.
#pragma once

#include <functional>
#include <string>

#include "fetch_events.hpp"
#include "tree_writer.hpp"
#include "wick/build/git_credentials.hpp"

namespace wick::build {

struct GitFetch {
  std::string url;
  std::string ref;
  std::uint64_t bytes_max = 1ull << 30;  // received, and again written
  bool allow_local = false;
  std::string repository;  // empty folder for the objects
  GitCredentials credentials;
};

/// Which URLs are fetched at all: https, http, ssh (ssh://USER@HOST:PORT/PATH or USER@HOST:PATH), local ones where
/// allowed. Pure.
Result<void> check_git_url(const std::string& url, bool allow_local);

/// Whom a URL names. Pure; for URLs that check_git_url took.
struct GitHost {
  std::string scheme;  // "ssh" for the short form too
  std::string user;
  std::string host;
  std::uint16_t port = 0;  // of the URL, else the scheme's
  friend bool operator==(const GitHost&, const GitHost&) = default;
};
GitHost git_host(const std::string& url);

using OnFetchEvent = std::function<void(const FetchEvent&)>;

/// Errors: invalid (URL, ref name), not_found (repository, ref: names some that exist), denied (authentication),
/// too_large, unavailable.
Result<FetchedCommit> fetch_git(const GitFetch& request, TreeWriter& writer, const OnFetchEvent& on_event);

/// Where the ref is now, and nothing more; a ref that is empty is the remote's HEAD. Errors: as fetch_git's.
Result<FetchedCommit> look_at_git(const GitFetch& request);

}  // namespace wick::build
