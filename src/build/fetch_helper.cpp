#include "wick/build/fetch_helper.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string_view>
#include <vector>

#include "confine.hpp"
#include "credentials_wire.hpp"
#include "fetch_events.hpp"
#include "git_tree.hpp"
#include "tree_writer.hpp"
#include "wick/base/text.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

void say(const FetchEvent& event) { (void)write_all(STDOUT_FILENO, to_line(event)); }

/// An upload: files, folders and links; owners do not matter, since COPY sets them.
Result<void> fetch_archive(const std::string& folder, std::uint64_t bytes_max) {
  if (auto confined = confine({.writable = folder}); !confined) return confined;
  const image::UnpackLimits limits{.bytes_max = bytes_max, .entries_max = TreeWriter::entries_max};
  auto unpacked = image::unpack(STDIN_FILENO, folder, image::Whiteouts::refuse, limits, image::Owners::mine);
  if (!unpacked) return fail(std::move(unpacked.error()).within("the upload"));
  return {};
}

/// A home of its own below the folder that can be written: libgit2 asks ~/.ssh/known_hosts which kinds of key to offer
/// (whether the host is the right one is check_host_key's to say).
Result<void> make_home(const std::filesystem::path& home, const std::string& known_hosts) {
  ::setenv("HOME", home.c_str(), 1);
  if (auto made = make_folders(home / ".ssh", 0700); !made) return made;
  return write_file(home / ".ssh" / "known_hosts", known_hosts, 0600);
}

Result<void> fetch_repository(const std::string& folder, GitFetch request) {
  const auto bytes = read_all(STDIN_FILENO, credentials_bytes_max);
  if (!bytes) return fail(bytes.error());
  auto credentials = from_wire(*bytes);
  if (!credentials) return fail(std::move(credentials.error()));
  request.credentials = std::move(*credentials);
  auto writer = TreeWriter::open(folder, request.bytes_max);
  if (!writer) return fail(std::move(writer.error()));
  // The tree is written through descriptors, which Landlock checks by path all the same: both folders have one parent
  // of ours.
  Confinement confinement{.writable = std::filesystem::path(folder).parent_path()};
  if (request.allow_local && request.url.starts_with("file://")) confinement.readable = request.url.substr(7);
  if (request.allow_local && request.url.starts_with('/')) confinement.readable = request.url;
  if (auto confined = confine(confinement); !confined) return confined;
  if (auto made = make_home(confinement.writable / "home", request.credentials.known_hosts); !made) return made;
  auto commit = fetch_git(request, *writer, say);
  if (!commit) return fail(std::move(commit.error()));
  say(*commit);
  return {};
}

Result<void> run(const std::vector<std::string>& arguments) {
  const auto number = [&](std::size_t i) { return parse_unsigned(arguments[i]); };
  if (arguments.size() == 4 && arguments[1] == "archive" && number(3)) return fetch_archive(arguments[2], *number(3));
  const bool git = arguments.size() == 7 || (arguments.size() == 8 && arguments[7] == "--allow-local");
  if (git && arguments[1] == "git" && number(6))
    return fetch_repository(arguments[2], {.url = arguments[4],
                                           .ref = arguments[5],
                                           .bytes_max = *number(6),
                                           .allow_local = arguments.size() == 8,
                                           .repository = arguments[3]});
  return fail(Errc::invalid,
              "usage: fetch git FOLDER REPOSITORY URL REF BYTES_MAX [--allow-local] | fetch archive FOLDER BYTES_MAX");
}

}  // namespace

int fetch_main(int argc, char** argv) {
  // A file limit or a closed pipe is an error code, not the end without a word.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  auto done = run({argv, argv + argc});
  if (!done) say(done.error());
  // Nothing to tidy, and what runs at exit (a leak checker, say) may need what was given up.
  std::_Exit(done ? 0 : 1);
}

}  // namespace wick::build
