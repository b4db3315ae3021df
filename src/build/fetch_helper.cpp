#include "wick/build/fetch_helper.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "added_archive.hpp"
#include "confine.hpp"
#include "credentials_wire.hpp"
#include "fetch_events.hpp"
#include "git_child.hpp"
#include "git_tree.hpp"
#include "registry_helper.hpp"
#include "tree_writer.hpp"
#include "wick/base/text.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/import.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::uint32_t image_cpu_seconds_max = 3600;  // 20 GiB of archive, unpacked and hashed on a slow core

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

enum class GitWork { fetch, look };
Result<void> fetch_repository(const std::string& folder, GitFetch request, GitWork work) {
  const auto bytes = read_all(STDIN_FILENO, credentials_bytes_max);
  if (!bytes) return fail(bytes.error());
  auto credentials = from_wire(*bytes);
  if (!credentials) return fail(std::move(credentials.error()));
  request.credentials = std::move(*credentials);
  std::optional<TreeWriter> tree;
  if (work == GitWork::fetch) {
    auto writer = TreeWriter::open(folder, request.bytes_max);
    if (!writer) return fail(std::move(writer.error()));
    tree.emplace(std::move(*writer));
  }
  // The tree is written through descriptors, which Landlock checks by path all the same: both folders have one parent
  // of ours.
  Confinement confinement{.writable = std::filesystem::path(folder).parent_path()};
  if (request.allow_local && request.url.starts_with("file://")) confinement.readable = request.url.substr(7);
  if (request.allow_local && request.url.starts_with('/')) confinement.readable = request.url;
  if (auto confined = confine(confinement); !confined) return confined;
  if (auto made = make_home(confinement.writable / "home", request.credentials.known_hosts); !made) return made;
  auto commit = tree ? fetch_git(request, *tree, say) : look_at_git(request);
  if (!commit) return fail(std::move(commit.error()));
  say(*commit);
  return {};
}

/// With curl(1), which knows TLS, redirects and proxies. It may write to the one folder and read what libraries need.
Result<void> fetch_url(const std::string& file, const std::string& url, std::uint64_t bytes_max) {
  const auto folder = std::filesystem::path(file).parent_path();
  if (auto confined = confine({.writable = folder, .file_bytes_max = bytes_max}); !confined) return confined;
  const pid_t child = ::fork();
  if (child < 0) return fail(system_error("fork", errno));
  if (child == 0) {
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::execlp("curl", "curl", "--fail", "--location", "--silent", "--show-error", "--remote-time", "--proto",
             "=http,https", "--proto-redir", "=http,https", "--max-redirs", "10", "--connect-timeout", "30",
             "--max-filesize", std::to_string(bytes_max).c_str(), "--output", file.c_str(), "--url", url.c_str(),
             nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    return fail(Errc::unsupported, "ADD of a URL needs curl", "apt-get install curl");
  if (WIFEXITED(status) && WEXITSTATUS(status) == 22) return fail(Errc::not_found, "the server has no such file");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return fail(Errc::unavailable, fmt::format("it could not be fetched (curl exit {})", WEXITSTATUS(status)));
  struct stat info{};
  if (::chmod(file.c_str(), 0600) != 0 || ::stat(file.c_str(), &info) != 0) return fail(system_error("stat", errno));
  say(FetchedCommit{.id = "", .time = info.st_mtim.tv_sec});
  return {};
}

/// `wick image load`: the archive on standard input into a layout of its own.
Result<void> fetch_images(const std::filesystem::path& folder, const std::string& name) {
  Confinement confinement{.writable = folder,
                          .readable = {},
                          .file_bytes_max = image::UnpackLimits{}.bytes_max,
                          .cpu_seconds_max = image_cpu_seconds_max,
                          .children = Children::none};
  if (auto confined = confine(confinement); !confined) return confined;
  auto store = image::ContentStore::open(folder / image_layout_name);
  if (!store) return fail(std::move(store.error()));
  auto imported = image::import_archive(*store, STDIN_FILENO, folder, name);
  if (!imported) {
    auto error = std::move(imported.error()).within("the archive");
    const bool has_hint = !error.hint().empty();
    return fail(has_hint ? std::move(error)
                         : std::move(error).hint("docker save and skopeo copy … oci-archive:FILE write what is taken"));
  }
  for (const auto& one : *imported)
    for (const auto& given : one.names) say(FetchedImage{.manifest = one.image.digest, .name = given});
  return {};
}

Result<void> run(const std::vector<std::string>& arguments) {
  const auto number = [&](std::size_t i) { return parse_unsigned(arguments[i]); };
  if (arguments.size() == 2 && arguments[1] == "registry-resolve") return registry_resolve_here();
  if (arguments.size() == 3 && arguments[1] == "registry-pull") return registry_pull_here(arguments[2]);
  if (arguments.size() == 4 && arguments[1] == "registry-push") return registry_push_here(arguments[2], arguments[3]);
  if (arguments.size() == 4 && arguments[1] == "images") return fetch_images(arguments[2], arguments[3]);
  if (arguments.size() == 4 && arguments[1] == "archive" && number(3)) return fetch_archive(arguments[2], *number(3));
  if (arguments.size() == 5 && arguments[1] == "url" && number(4))
    return fetch_url(arguments[2], arguments[3], *number(4));
  if (arguments.size() > 4 && arguments[1] == "git-run")
    return become_git(arguments[2], arguments[3] == "gzip", {arguments.begin() + 4, arguments.end()});
  const bool git = arguments.size() == 7 || (arguments.size() == 8 && arguments[7] == "--allow-local");
  if (git && (arguments[1] == "git" || arguments[1] == "git-look") && number(6))
    return fetch_repository(arguments[2],
                            {.url = arguments[4],
                             .ref = arguments[5],
                             .bytes_max = *number(6),
                             .allow_local = arguments.size() == 8,
                             .repository = arguments[3]},
                            arguments[1] == "git" ? GitWork::fetch : GitWork::look);
  return fail(Errc::invalid,
              "usage: fetch git|git-look FOLDER REPOSITORY URL REF BYTES_MAX [--allow-local] | fetch archive FOLDER "
              "BYTES_MAX | "
              "fetch git-run REPOSITORY plain|gzip ARGUMENT… | "
              "fetch images FOLDER NAME | fetch registry-resolve | fetch registry-pull FOLDER | fetch registry-push "
              "FOLDER NAME");
}

}  // namespace

namespace {

/// ADD of an archive: descriptor 0 to descriptor 3.
int added_archive_main(const std::string& destination, const std::string& owner) {
  auto confined = confine({.writable = "/nonexistent", .memory_bytes_max = 1ull << 30});
  auto done = confined ? rewrite_archive_here(3, destination, owner) : Result<bool>(fail(std::move(confined.error())));
  const std::string said = !done ? done.error().what() : *done ? "added: archive" : "added: other";
  (void)write_all(STDOUT_FILENO, said + "\n");
  std::_Exit(done ? 0 : 1);
}

}  // namespace

int fetch_main(int argc, char** argv) {
  // A file limit or a closed pipe is an error code, not the end without a word.
  ::signal(SIGXFSZ, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  if (argc == 4 && std::string_view(argv[1]) == "added") return added_archive_main(argv[2], argv[3]);
  auto done = run({argv, argv + argc});
  if (!done) say(done.error());
  // Nothing to tidy, and what runs at exit (a leak checker, say) may need what was given up.
  std::_Exit(done ? 0 : 1);
}

}  // namespace wick::build
