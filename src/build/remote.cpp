// What ADD takes from elsewhere: a file of a URL, a git repository.
#include <fmt/format.h>

#include "engine.hpp"
#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::build {

namespace {

struct GitPlace {
  std::string url;
  std::string ref;
  std::string folder;
};

/// "URL#ref:folder".
GitPlace parse_git(const std::string& text) {
  GitPlace out;
  const auto hash = text.find('#');
  out.url = text.substr(0, hash);
  if (out.url.starts_with("git@"))  // scp's way of writing it
    if (const auto colon = out.url.find(':'); colon != std::string::npos)
      out.url = "ssh://" + out.url.replace(colon, 1, "/");
  if (hash == std::string::npos) return out;
  const auto rest = text.substr(hash + 1);
  const auto colon = rest.find(':');
  out.ref = rest.substr(0, colon);
  if (colon != std::string::npos) out.folder = rooted_path(rest.substr(colon + 1));
  return out;
}

/// The last element of a URL's path.
std::string file_name_of(const std::string& url) {
  auto path = url.substr(url.find("://") + 3);
  path = path.substr(0, path.find_first_of("?#"));
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(slash + 1);
}

}  // namespace

awaitable<Result<std::shared_ptr<const Remote>>> Engine::fetch_remote(const CopyStep& copy,
                                                                      const CopyStep::Remote& wanted) {
  const auto git = parse_git(wanted.url);
  const auto name = file_name_of(wanted.url);
  if (!wanted.git && name.empty() && copy.destination.ends_with('/'))
    co_return fail(Errc::invalid, fmt::format("{} has no file name", printable(wanted.url)),
                   "name the destination file");
  std::variant<GitSource, ArchiveSource, UrlSource> source;
  if (wanted.git) {
    if (copy.keep_git)
      co_return fail(Errc::unsupported, "--keep-git-dir is not supported: the source comes without its history",
                     "RUN git clone in place of it");
    const auto* own = std::get_if<GitSource>(&request_.source);
    source = GitSource{.url = git.url, .ref = git.ref, .allow_local = own && own->allow_local};
  } else {
    source = UrlSource{.url = wanted.url, .file_name = name.empty() ? base_name(copy.destination) : name};
  }
  auto on_line = [this](std::string line) { report(Progress::Kind::output, std::move(line)); };
  auto fetched = co_await fetch(parts_.clock, parts_.workers, std::move(source), parts_.places.work, {}, on_line);
  if (!fetched) co_return fail(std::move(fetched.error()).within(printable(wanted.url)));
  const auto commit = (*fetched)->commit;
  const auto time = (*fetched)->commit_time;
  auto open = [&copy, &wanted, &git, holder = std::move(*fetched), commit,
               time]() mutable -> Result<std::shared_ptr<const Remote>> {
    auto tree = SourceTree::open(holder->folder);
    if (!tree) return fail(std::move(tree.error()));
    auto remote = std::make_shared<Remote>(Remote{
        .fetched = std::move(holder), .tree = std::move(*tree), .selection = {}, .epoch = time, .same_time = true});
    const auto& listing = remote->tree.listing();
    CopyStep everything;
    everything.destination = copy.destination;
    everything.sources = {wanted.git ? git.folder : listing.entries.empty() ? "" : listing.entries[0].path};
    everything.excludes = copy.excludes;
    auto selection = select(listing, listing, everything);
    if (!selection) return fail(std::move(selection.error()));
    remote->selection = std::move(*selection);
    if (wanted.git && !copy.checksum.empty() && !commit.starts_with(copy.checksum))
      return fail(Errc::corrupt, fmt::format("the commit is {}, not {}", commit, printable(copy.checksum)));
    if (!wanted.git && !copy.checksum.empty() && !listing.entries.empty()) {
      auto digest = remote->tree.hash(listing.entries[0].path);
      if (!digest) return fail(std::move(digest.error()));
      if (digest->text() != copy.checksum)
        return fail(Errc::corrupt, fmt::format("{} has {}, not {}", wanted.url, digest->text(), copy.checksum));
    }
    return remote;
  };
  auto opened = co_await parts_.workers.run(std::move(open));
  co_return opened;
}

}  // namespace wick::build
