#include "git_tree.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <git2.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "known_hosts.hpp"
#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

constexpr std::size_t named_refs_max = 8;  // in the message about an unknown ref
constexpr std::size_t advertised_refs_max = 200'000;
constexpr std::size_t pointer_bytes_max = 1024;  // an LFS pointer is shorter

template <auto free_function>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using Repository = std::unique_ptr<git_repository, Free<git_repository_free>>;
using Remote = std::unique_ptr<git_remote, Free<git_remote_free>>;
using Object = std::unique_ptr<git_object, Free<git_object_free>>;
using Commit = std::unique_ptr<git_commit, Free<git_commit_free>>;
using Tree = std::unique_ptr<git_tree, Free<git_tree_free>>;
using Blob = std::unique_ptr<git_blob, Free<git_blob_free>>;

std::string last_words() {
  const git_error* error = git_error_last();
  return error && error->message ? printable(error->message, 300) : "unknown";
}

std::string without_password(const std::string& url) {
  const auto scheme = url.find("://");
  const auto at = url.find('@');
  const auto slash = scheme == std::string::npos ? scheme : url.find('/', scheme + 3);
  if (scheme == std::string::npos || at == std::string::npos || at > slash) return printable(url);
  return printable(url.substr(0, scheme + 3) + url.substr(at + 1));
}

bool is_commit_id(std::string_view ref) {
  return ref.size() >= 7 && ref.size() <= 40 && ref.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// git-check-ref-format(1), the part that matters here: what is handed to the library is never an option, a pattern or
/// a path out.
bool is_ref_name(std::string_view ref) {
  if (ref.size() > 255 || ref.starts_with('-') || ref.starts_with('/') || ref.contains("..") || ref.contains("@{"))
    return false;
  return std::ranges::none_of(ref, [](char c) {
    return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f || std::string_view("~^:?*[\\").contains(c);
  });
}

class Fetcher {
 public:
  /// Without a `writer` nothing is fetched: look() tells where the ref is.
  Fetcher(const GitFetch& request, TreeWriter* writer, const OnFetchEvent& on_event)
      : request_(request), writer_(writer), on_event_(on_event) {}

  Result<FetchedCommit> look() {
    if (!is_ref_name(request_.ref))
      return fail(Errc::invalid, fmt::format("'{}' is no name of a branch or tag", printable(request_.ref)));
    auto id = is_local() ? find_local() : find_remote();
    if (!id) return fail(std::move(id.error()));
    return FetchedCommit{.id = git_oid_tostr_s(&*id)};
  }

  Result<FetchedCommit> run() {
    if (!is_ref_name(request_.ref))
      return fail(Errc::invalid, fmt::format("'{}' is no name of a branch, tag or commit", printable(request_.ref)));
    auto id = is_local() ? find_local() : find_remote();
    if (!id) return fail(std::move(id.error()));
    git_object* raw = nullptr;
    Object object;
    if (git_object_lookup(&raw, repository_.get(), &*id, GIT_OBJECT_ANY) == 0) object.reset(raw);
    git_object* peeled = nullptr;
    if (!object || git_object_peel(&peeled, object.get(), GIT_OBJECT_COMMIT) != 0)
      return fail(Errc::not_found, fmt::format("'{}' is not a commit", printable(request_.ref)));
    const Commit commit(reinterpret_cast<git_commit*>(peeled));
    git_tree* tree_raw = nullptr;
    if (git_commit_tree(&tree_raw, commit.get()) != 0)
      return fail(Errc::corrupt, fmt::format("the commit's tree: {}", last_words()));
    const Tree tree(tree_raw);
    if (auto written = write_tree(tree.get(), "", 0); !written) return fail(std::move(written.error()));
    const std::string hex = git_oid_tostr_s(git_commit_id(commit.get()));
    return FetchedCommit{hex, std::max<std::int64_t>(0, git_commit_time(commit.get()))};
  }

 private:
  bool is_local() const { return request_.url.starts_with("file://") || request_.url.starts_with('/'); }

  /// Straight from the repository's objects: the file transport of libgit2 is slow and stops at a missing object.
  Result<git_oid> find_local() {
    const auto path = request_.url.starts_with("file://") ? request_.url.substr(7) : request_.url;
    git_repository* raw = nullptr;
    // A repository of another user is what allow_local is for.
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    if (git_repository_open_ext(&raw, path.c_str(), GIT_REPOSITORY_OPEN_NO_SEARCH, nullptr) != 0)
      return fail(Errc::not_found, fmt::format("no git repository at {}: {}", printable(path), last_words()));
    repository_.reset(raw);
    for (const auto& name : candidates()) {
      git_oid id;
      if (git_reference_name_to_id(&id, raw, name.c_str()) == 0) return id;
    }
    if (const auto id = commit_by_prefix()) return *id;
    if (request_.ref.empty())
      return fail(Errc::not_found, fmt::format("the repository {} has no commit", printable(path)));
    git_strarray list{};
    std::vector<std::string> names;
    if (git_reference_list(&list, raw) == 0) names.assign(list.strings, list.strings + list.count);
    git_strarray_dispose(&list);
    return unknown_ref(names);
  }

  std::vector<std::string> candidates() const {
    if (request_.ref.empty()) return {"HEAD"};
    if (request_.ref.starts_with("refs/")) return {request_.ref};
    return {"refs/heads/" + request_.ref, "refs/tags/" + request_.ref};
  }

  std::optional<git_oid> commit_by_prefix() const {
    git_oid id;
    git_object* raw = nullptr;
    if (!is_commit_id(request_.ref) || git_oid_fromstrn(&id, request_.ref.data(), request_.ref.size()) != 0)
      return std::nullopt;
    if (git_object_lookup_prefix(&raw, repository_.get(), &id, request_.ref.size(), GIT_OBJECT_COMMIT) != 0)
      return std::nullopt;
    const Object object(raw);
    return *git_object_id(raw);
  }

  std::unexpected<Error> unknown_ref(const std::vector<std::string>& names) const {
    std::vector<std::string> known;
    for (const auto& name : names)
      for (std::string_view prefix : {"refs/heads/", "refs/tags/"})
        if (name.starts_with(prefix) && !name.ends_with("^{}"))
          known.push_back(printable(name.substr(prefix.size()), 60));
    std::ranges::sort(known);
    std::vector<std::string_view> views(known.begin(), known.end());
    if (views.size() > 2000) views.resize(2000);
    const auto near = nearest_word(request_.ref, views);
    const auto count = known.size();
    if (known.size() > named_refs_max) known.resize(named_refs_max);
    std::string hint = near.empty() ? "" : fmt::format("did you mean {}? ", near);
    hint += count == 0 ? "the repository has no branches"
                       : fmt::format("there are: {}{}", fmt::join(known, ", "), count > known.size() ? ", …" : "");
    return fail(
        Errc::not_found,
        fmt::format("{} has no branch, tag or commit '{}'", without_password(request_.url), printable(request_.ref)),
        hint);
  }

  Result<git_oid> find_remote() {
    git_repository* raw = nullptr;
    if (git_repository_init(&raw, request_.repository.c_str(), 1) != 0)
      return fail(Errc::io, fmt::format("make a repository: {}", last_words()));
    repository_.reset(raw);
    git_remote* remote_raw = nullptr;
    if (git_remote_create_anonymous(&remote_raw, raw, request_.url.c_str()) != 0)
      return fail(Errc::invalid, fmt::format("{}: {}", without_password(request_.url), last_words()));
    const Remote remote(remote_raw);
    git_remote_callbacks callbacks = GIT_REMOTE_CALLBACKS_INIT;
    callbacks.payload = this;
    callbacks.transfer_progress = [](const git_indexer_progress* stats, void* self) {
      return static_cast<Fetcher*>(self)->progress(*stats);
    };
    callbacks.credentials = [](git_credential** out, const char* url, const char* user, unsigned allowed, void* self) {
      return static_cast<Fetcher*>(self)->log_in(out, url ? url : "", user ? user : "", allowed);
    };
    callbacks.certificate_check = [](git_cert* certificate, int valid, const char*, void* self) {
      return static_cast<Fetcher*>(self)->check_certificate(*certificate, valid != 0);
    };
    git_remote_connect_options connect = GIT_REMOTE_CONNECT_OPTIONS_INIT;
    connect.callbacks = callbacks;
    connect.follow_redirects = GIT_REMOTE_REDIRECT_INITIAL;
    if (git_remote_connect_ext(remote.get(), GIT_DIRECTION_FETCH, &connect) != 0) return fail(connection_error());

    const git_remote_head** heads = nullptr;
    std::size_t count = 0;
    if (git_remote_ls(&heads, &count, remote.get()) != 0) return fail(connection_error());
    if (count > advertised_refs_max)
      return fail(Errc::too_large,
                  fmt::format("the server names {} refs, at most {} are read", count, advertised_refs_max));
    if (count == 0)
      return fail(Errc::not_found, fmt::format("the repository {} is empty", without_password(request_.url)));
    std::vector<std::string> names;
    for (std::size_t i = 0; i < count; ++i) names.emplace_back(heads[i]->name);

    std::optional<git_oid> wanted;
    std::string refspec;
    for (const auto& name : candidates()) {
      const auto at = std::ranges::find(names, name);
      if (wanted || at == names.end()) continue;
      wanted = heads[at - names.begin()]->oid;
      refspec = fmt::format("+{}:refs/wick/fetched", name);
    }
    // A commit is only sent as part of a branch or tag (libgit2 cannot ask for one by its id): take all of them.
    if (!wanted && (!is_commit_id(request_.ref) || !writer_)) return unknown_ref(names);
    if (!writer_) return *wanted;
    std::vector<std::string> texts;
    if (wanted) {
      texts = {refspec};
    } else {
      texts = {"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"};
    }
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    const git_strarray refspecs{pointers.data(), pointers.size()};
    git_fetch_options options = GIT_FETCH_OPTIONS_INIT;
    options.callbacks = callbacks;
    options.follow_redirects = GIT_REMOTE_REDIRECT_INITIAL;
    options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
    options.update_fetchhead = 0;
    if (git_remote_fetch(remote.get(), &refspecs, &options, nullptr) != 0) return fail(connection_error());
    if (wanted) return *wanted;
    if (const auto id = commit_by_prefix()) return *id;
    return unknown_ref(names);
  }

  bool logged_in_with() const {
    return !request_.credentials.ssh_private_key.empty() || !request_.credentials.password.empty();
  }

  int progress(const git_indexer_progress& stats) {
    if (stats.received_bytes > request_.bytes_max) {
      too_large_ = true;
      return GIT_EUSER;
    }
    const unsigned percent = stats.total_objects == 0 ? 0 : stats.received_objects * 100 / stats.total_objects;
    if (percent / 25 != said_ / 25 || (percent == 100 && said_ != 100))
      on_event_(FetchProgress{fmt::format("receiving {} of {} objects, {}", stats.received_objects, stats.total_objects,
                                          human_bytes(stats.received_bytes))});
    said_ = percent;
    return 0;
  }

  /// Once: what was refused is not sent again.
  int log_in(git_credential** out, const std::string& url, const std::string& user, unsigned allowed) {
    const auto& credentials = request_.credentials;
    const auto asked = git_host(url.empty() ? request_.url : url);
    auto meant = git_host(request_.url);
    meant.user = asked.user;
    if (asked != meant) {
      refused_ = Error(Errc::denied,
                       fmt::format("{} sends on to {}://{}, which asks for a login", without_password(request_.url),
                                   printable(asked.scheme), printable(asked.host)))
                     .hint("credentials go to the host of the URL alone; use the URL it sends on to");
      return GIT_EAUTH;
    }
    if (allowed & GIT_CREDENTIAL_USERNAME)
      return git_credential_username_new(out, credentials.username.empty() ? "git" : credentials.username.c_str());
    denied_ = true;
    if (std::exchange(logged_in_, true)) return GIT_EAUTH;
    if (allowed & GIT_CREDENTIAL_SSH_MEMORY && !credentials.ssh_private_key.empty())
      return git_credential_ssh_key_memory_new(out, user.empty() ? "git" : user.c_str(), nullptr,
                                               credentials.ssh_private_key.c_str(), nullptr);
    if (allowed & GIT_CREDENTIAL_USERPASS_PLAINTEXT && !credentials.password.empty()) {
      const auto& name = credentials.username.empty() ? user : credentials.username;
      return git_credential_userpass_plaintext_new(out, name.empty() ? "git" : name.c_str(),
                                                   credentials.password.c_str());
    }
    return GIT_EAUTH;
  }

  int check_certificate(const git_cert& certificate, bool valid) {
    if (certificate.cert_type != GIT_CERT_HOSTKEY_LIBSSH2) return valid ? 0 : GIT_ECERTIFICATE;
    const auto& host_key = reinterpret_cast<const git_cert_hostkey&>(certificate);
    if (!(host_key.type & GIT_CERT_SSH_RAW)) return GIT_ECERTIFICATE;
    const auto host = git_host(request_.url);
    auto checked =
        check_host_key(request_.credentials.known_hosts,
                       {.host = host.host, .port = host.port, .key = {host_key.hostkey, host_key.hostkey_len}});
    if (checked) return 0;
    refused_ = std::move(checked.error());
    return GIT_ECERTIFICATE;
  }

  Error connection_error() const {
    const auto url = without_password(request_.url);
    const auto words = last_words();
    if (refused_) return *refused_;
    if (too_large_)
      return Error(Errc::too_large, fmt::format("{} sends more than {}", url, human_bytes(request_.bytes_max)))
          .hint("raise the limit for sources, or deploy a folder");
    if (denied_ || words.contains("401") || words.contains("403") || words.contains("authentication"))
      return Error(Errc::denied, fmt::format("{} asks for a login", url))
          .hint(logged_in_with() ? "the server refused what the Secret holds: is the key or token known there?"
                                 : "a private repository needs a Secret (wick deploy --git-secret NAME); a public one "
                                   "may be misspelt");
    if (words.contains("404"))
      return Error(Errc::not_found, fmt::format("there is no repository at {}", url)).hint("check the URL");
    if (words.contains("resolve"))
      return Error(Errc::unavailable, fmt::format("{}: {}", url, words)).hint("check the host name and the network");
    return Error(Errc::unavailable, fmt::format("{}: {}", url, words)).hint("is the server up, and is this a git URL?");
  }

  Result<void> write_tree(git_tree* tree, const std::string& prefix, std::size_t depth) {
    if (depth > TreeWriter::depth_max) return fail(Errc::invalid, "folders are nested too deeply");
    for (std::size_t i = 0; i < git_tree_entrycount(tree); ++i) {
      const git_tree_entry* entry = git_tree_entry_byindex(tree, i);
      const std::string name = git_tree_entry_name(entry);
      if (name.empty() || name.contains('/'))
        return fail(Errc::corrupt, fmt::format("a tree has an entry named '{}'", printable(name)));
      if (auto written = write_entry(entry, prefix.empty() ? name : prefix + "/" + name, depth); !written)
        return written;
    }
    return {};
  }

  Result<void> write_entry(const git_tree_entry* entry, const std::string& path, std::size_t depth) {
    const git_oid* id = git_tree_entry_id(entry);
    switch (git_tree_entry_filemode(entry)) {
      case GIT_FILEMODE_TREE: {
        git_tree* raw = nullptr;
        if (git_tree_lookup(&raw, repository_.get(), id) != 0)
          return fail(Errc::corrupt, fmt::format("{}: {}", printable(path), last_words()));
        const Tree tree(raw);
        if (auto made = writer_->folder(path); !made) return made;
        return write_tree(raw, path, depth + 1);
      }
      case GIT_FILEMODE_COMMIT:
        on_event_(FetchWarning{fmt::format("{} is a submodule and was left out", printable(path))});
        return {};
      default:
        break;
    }
    git_blob* raw = nullptr;
    if (git_blob_lookup(&raw, repository_.get(), id) != 0)
      return fail(Errc::corrupt, fmt::format("{}: {}", printable(path), last_words()));
    const Blob blob(raw);
    const std::string_view content(static_cast<const char*>(git_blob_rawcontent(raw)), git_blob_rawsize(raw));
    if (git_tree_entry_filemode(entry) == GIT_FILEMODE_LINK) return writer_->symlink(path, std::string(content));
    if (content.size() < pointer_bytes_max && content.starts_with("version https://git-lfs"))
      on_event_(FetchWarning{fmt::format("{} is a pointer of git-lfs; its content was not fetched", printable(path))});
    return writer_->file(path, git_tree_entry_filemode(entry) == GIT_FILEMODE_BLOB_EXECUTABLE, content);
  }

  const GitFetch& request_;
  TreeWriter* writer_;
  const OnFetchEvent& on_event_;
  Repository repository_;
  std::optional<Error> refused_;  // why we went no further, when it was us
  bool logged_in_ = false;
  bool denied_ = false;
  bool too_large_ = false;
  unsigned said_ = 1000;
};

}  // namespace

Result<void> check_git_url(const std::string& url, bool allow_local) {
  const auto bad = [&](Errc code, std::string_view why, std::string hint) {
    return fail(code, fmt::format("{}: {}", without_password(url), why), std::move(hint));
  };
  const bool clean = std::ranges::all_of(url, [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
  if (url.empty() || url.size() > 2000 || url.starts_with('-') || !clean)
    return bad(Errc::invalid, "not a URL", "such as https://host/name.git");
  if (url.starts_with("file://") || url.starts_with('/')) {
    if (allow_local) return {};
    return bad(Errc::denied, "repositories of this machine are not read",
               "pass --allow-local, or deploy the folder itself");
  }
  const auto host = git_host(url);
  if (host.scheme != "https" && host.scheme != "http" && host.scheme != "ssh")
    return bad(Errc::invalid, "only https, http and ssh are fetched", "such as https://host/name.git");
  // "-oProxyCommand=…" as a host or user is an option to whoever runs ssh (CVE-2017-1000117); here nobody does.
  if (host.host.empty() || host.host.starts_with('-') || host.user.starts_with('-'))
    return bad(Errc::invalid, "the host is missing", "such as https://host/name.git");
  if (host.port == 0) return bad(Errc::invalid, "the port is not one of 1 to 65535", "such as https://host/name.git");
  return {};
}

GitHost git_host(const std::string& url) {
  GitHost out;
  std::string_view rest = url;
  const auto scheme = rest.find("://");
  const bool is_short = scheme == rest.npos;                                 // USER@HOST:PATH, git-fetch(1) "GIT URLS"
  if (is_short && (!rest.contains(':') || rest.contains("::"))) return out;  // "ext::COMMAND" is git's door to programs
  out.scheme = is_short ? "ssh" : to_lower(rest.substr(0, scheme));
  if (!is_short) rest.remove_prefix(scheme + 3);
  rest = rest.substr(0, rest.find_first_of(is_short ? ":" : "/?#"));
  if (const auto at = rest.rfind('@'); at != rest.npos) {
    out.user = rest.substr(0, std::min(at, rest.find(':')));
    rest.remove_prefix(at + 1);
  }
  out.port = out.scheme == "ssh" ? 22 : out.scheme == "http" ? 80 : 443;
  const auto bracket = rest.starts_with('[') ? rest.find(']') : rest.npos;
  if (const auto colon = rest.find(':', bracket == rest.npos ? 0 : bracket); colon != rest.npos) {
    const auto port = parse_unsigned(rest.substr(colon + 1));
    out.port = port && *port <= 65535 ? static_cast<std::uint16_t>(*port) : 0;
    rest = rest.substr(0, colon);
  }
  if (bracket != rest.npos) rest = rest.substr(1, bracket - 1);
  out.host = to_lower(rest);
  return out;
}

namespace {

/// libgit2, with no configuration but ours.
struct Library {
  Library() {
    git_libgit2_init();
    for (const int level :
         {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL, GIT_CONFIG_LEVEL_PROGRAMDATA})
      git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
  }
  ~Library() { git_libgit2_shutdown(); }
};

}  // namespace

Result<FetchedCommit> fetch_git(const GitFetch& request, TreeWriter& writer, const OnFetchEvent& on_event) {
  if (auto checked = check_git_url(request.url, request.allow_local); !checked) return fail(std::move(checked.error()));
  const Library library;
  return Fetcher(request, &writer, on_event).run();
}

Result<FetchedCommit> look_at_git(const GitFetch& request) {
  if (auto checked = check_git_url(request.url, request.allow_local); !checked) return fail(std::move(checked.error()));
  const Library library;
  const OnFetchEvent nobody = [](const FetchEvent&) {};
  return Fetcher(request, nullptr, nobody).look();
}

}  // namespace wick::build
