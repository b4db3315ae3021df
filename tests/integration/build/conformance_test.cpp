// buildah's conformance cases (tests/conformance, Apache-2.0) against what BuildKit makes of them: files, owners,
// modes, times, links, xattrs, configuration and history. The cases and the outcomes are shared data, not part of this
// source.
#include <sys/xattr.h>

#include <fmt/format.h>

#include <boost/json.hpp>
#include <iostream>
#include <set>

#include "../../unit/build/shared_data.hpp"
#include "image/tar_writer.hpp"
#include "real_fixture.hpp"
#include "wick/base/text.hpp"

namespace wick::build {

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::time_t context_time = 1485449953;  // of every file of a context, as the data's README says

std::string text_at(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : "";
}

json::value json_of(const fs::path& path) { return json::parse(value_of(read_file(path, 16 << 20))); }

void set_times(const fs::path& path) {
  const timespec times[2] = {{context_time, 0}, {context_time, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

/// As a git checkout with umask 022 leaves it.
void normalise(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_symlink()) {
      const auto mode = entry.status().permissions();
      const bool executable = entry.is_directory() || (mode & fs::perms::owner_exec) != fs::perms::none;
      ::chmod(entry.path().c_str(), executable ? 0755 : 0644);
    }
    REQUIRE(::lchown(entry.path().c_str(), 0, 0) == 0);
  }
}

unsigned mode_of(const json::array& entry) {
  return static_cast<unsigned>(std::stoul(std::string(entry[3].as_string()), nullptr, 8));
}

/// ["file", path, content, mode, uid, gid, xattrs?]
void make_file(const fs::path& folder, const json::array& entry) {
  const auto path = folder / std::string(entry[1].as_string());
  fs::create_directories(path.parent_path());
  value_of(write_file(path, std::string(entry[2].as_string())));
  REQUIRE(::chmod(path.c_str(), mode_of(entry)) == 0);
  if (entry.size() > 6)
    for (const auto& [name, value] : entry[6].as_object())
      REQUIRE(::setxattr(path.c_str(), std::string(name).c_str(), value.as_string().data(), value.as_string().size(),
                         0) == 0);
}

/// ["tar", path, [entries]]
void make_archive(const fs::path& folder, const json::array& archive) {
  auto out = value_of(open_file(folder / std::string(archive[1].as_string()), O_WRONLY | O_CREAT | O_TRUNC, 0644));
  image::TarWriter tar(out.get());
  for (const auto& item : archive[2].as_array()) {
    const auto& entry = item.as_array();
    const std::string content(entry[2].as_string());
    const bool is_folder = entry[0].as_string() == "dir";
    image::TarEntry head;
    head.name = std::string(entry[1].as_string()) + (is_folder ? "/" : "");
    head.type = is_folder ? image::TarType::folder : image::TarType::regular;
    head.mode = mode_of(entry);
    head.uid = static_cast<std::uint32_t>(entry[4].as_int64());
    head.gid = static_cast<std::uint32_t>(entry[5].as_int64());
    head.mtime = context_time;
    head.size = content.size();
    if (entry.size() > 6)
      for (const auto& [name, value] : entry[6].as_object())
        head.xattrs[std::string(name)] = std::string(value.as_string());
    value_of(tar.add(head));
    if (!content.empty()) value_of(tar.data(content));
  }
  value_of(tar.finish());
}

class Conformance {
 public:
  explicit Conformance(fs::path data) : data_(std::move(data)) {
    find_links();
    make_bases();
  }

  /// "" or the first differences.
  std::string run(const json::object& one) {
    const auto expected =
        json_of(data_ / "expected" / (fs::path(text_at(one, "dockerfile")).stem().string() + ".json"));
    BuildRequest request{.source = ArchiveSource{.path = context_of(one)},
                         .dockerfile_text = value_of(read_file(data_ / text_at(one, "dockerfile"))),
                         .reference = "case:latest",
                         .egress = {.base = Egress::none, .allow = {}}};
    if (const auto* args = one.if_contains("build_args"); args && args->is_object())
      for (const auto& [name, value] : args->get_object()) request.build_args[std::string(name)] = value.as_string();
    const auto built = f_.build(std::move(request));
    const auto* outcome = expected.as_object().if_contains("buildkit");
    if (!outcome) return built ? "" : "not built: " + built.error().error.what();
    const auto& want = outcome->as_object();
    if (!want.at("ok").as_bool()) return built ? "built, and must not" : "";
    if (!built) return "not built: " + built.error().error.what();
    return differences(*built, want);
  }

 private:
  /// The shared data has files in place of symlinks, each with its target as content: what is a link is known from the
  /// outcomes.
  void find_links() {
    for (const auto& entry : fs::directory_iterator(data_ / "expected")) {
      const auto expected = json_of(entry.path());
      const auto* outcome = expected.as_object().if_contains("buildkit");
      if (!outcome || !outcome->as_object().contains("files")) continue;
      for (const auto& [path, value] : outcome->at("files").as_object())
        if (text_at(value.as_object(), "type") == "symlink") targets_.insert(text_at(value.as_object(), "target"));
    }
    targets_.insert("file.tar.gz");
  }

  void restore_links(const fs::path& folder) const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && entry.file_size() < 200) files.push_back(entry.path());
    for (const auto& file : files) {
      const auto target = value_of(read_file(file));
      if (!targets_.contains(target)) continue;
      fs::remove(file);
      fs::create_symlink(target, file);
    }
  }

  void make_bases() {
    RealFixture::Files files{
        {"bin/busybox!", value_of(read_file("/bin/busybox", 8 << 20))},
        {"etc/passwd",
         "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\n"
         "sys:x:3:3:sys:/dev:/bin/false\nlp:x:7:7:lp:/:/bin/false\nmail:x:8:8:mail:/:/bin/false\n"
         "www-data:x:33:33:www-data:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
        {"etc/group",
         "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\nlp:x:7:\nmail:x:8:\nwww-data:x:33:\n"
         "nogroup:x:65534:\n"},
        {"etc/os-release", "ID=stand-in\n"},
        {"etc/nsswitch.conf", "passwd: files\n"},
        {".dockerignore", "Dockerfile\n"},
    };
    auto applets = value_of(read_output("/bin/busybox --list-full"));
    for (const auto applet : split(applets, '\n'))
      if (!applet.empty() && applet != "bin/busybox") files[std::string(applet) + "@"] = "/bin/busybox";
    std::string folders = "FROM scratch\nCOPY . /\n";
    for (const char* name : {"/dev", "/proc", "/sys", "/root", "/tmp", "/var", "/home", "/usr/bin"})
      folders += std::string("WORKDIR ") + name + "\n";
    files["Dockerfile"] = folders + "WORKDIR /\nRUN chmod 0700 /root && chmod 1777 /tmp\nCMD [\"sh\"]\n";
    (void)f_.must_build(files, "mirror.gcr.io/busybox:latest");
    (void)f_.must_build(
        {{"Dockerfile", "FROM mirror.gcr.io/busybox\nCOPY alpine-release /etc/alpine-release\nCMD [\"/bin/sh\"]\n"},
         {"alpine-release", "3\n"}},
        "mirror.gcr.io/alpine:latest");
    (void)f_.must_build({{"Dockerfile",
                          "FROM mirror.gcr.io/busybox\nCOPY bash /bin/bash\nCOPY script /usr/bin/script\n"
                          "RUN ln -sf bash /bin/sh\nCMD [\"/bin/bash\"]\n"},
                         {"bash!", value_of(read_file("/bin/bash-static", 8 << 20))},
                         {"script!", "#!/bin/sh\n"}},
                        "quay.io/libpod/centos:7");
  }

  static Result<std::string> read_output(const char* command) {
    std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command, "r"), ::pclose);
    std::string out(1 << 20, '\0');
    out.resize(::fread(out.data(), 1, out.size(), pipe.get()));
    return out;
  }

  fs::path context_of(const json::object& one) {
    const auto folder = f_.home() / ("context-" + std::to_string(++contexts_));
    if (const auto name = text_at(one, "context"); name.empty()) {
      fs::create_directories(folder);
    } else {
      fs::copy(data_ / name, folder, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    }
    restore_links(folder);
    normalise(folder);
    if (const auto text = text_at(one, "dockerignore"); !text.empty())
      value_of(write_file(folder / ".dockerignore", text));
    if (const auto* setup = one.if_contains("context_setup"); setup && setup->is_array())
      for (const auto& item : setup->get_array()) {
        const auto& entry = item.as_array();
        entry[0].as_string() == "tar" ? make_archive(folder, entry) : make_file(folder, entry);
      }
    for (const auto& entry : fs::recursive_directory_iterator(folder)) set_times(entry.path());
    return f_.pack(folder);
  }

  std::string differences(const BuiltImage& built, const json::object& want) {
    std::string out;
    const auto say = [&](std::string text) {
      if (out.size() < 2000) out += (out.empty() ? "" : "; ") + text;
    };
    compare_config(json::parse(built.image.config.to_json()).as_object(), want.at("config").as_object(), say);
    compare_files(built, want, say);
    return out;
  }

  template <class Say>
  static void compare_config(const json::object& have, const json::object& want, Say& say) {
    const auto& config = have.at("config").as_object();
    for (const auto& [key, value] : want) {
      if (key == "history") {
        compare_history(have.at("history").as_array(), value.as_array(), say);
        continue;
      }
      const auto* found = key == "author" ? have.if_contains(key) : config.if_contains(key);
      if (!found) {
        say(fmt::format("config has no {}", std::string_view(key)));
      } else if (*found != value) {
        say(fmt::format("{} is {}, not {}", std::string_view(key), json::serialize(*found), json::serialize(value)));
      }
    }
    for (const char* key : {"Cmd", "Entrypoint", "User", "Labels", "Volumes", "ExposedPorts", "OnBuild", "StopSignal"})
      if (config.contains(key) && !want.contains(key)) say(fmt::format("config has a {}", key));
  }

  template <class Say>
  static void compare_history(const json::array& have, const json::array& want, Say& say) {
    // The stand-in bases have histories of their own, ours longer than the oracle's: the ends are compared.
    for (std::size_t i = 1; i <= std::min(have.size(), want.size()); ++i) {
      const auto& mine = have[have.size() - i].as_object();
      const auto& theirs = want[want.size() - i].as_object();
      if (text_at(theirs, "created_by").empty() || theirs.contains("comment_base")) break;
      if (text_at(theirs, "created_by").starts_with("/bin/sh -c #(nop)")) break;
      if (text_at(mine, "created_by") != text_at(theirs, "created_by"))
        say(fmt::format("history '{}', not '{}'", text_at(mine, "created_by"), text_at(theirs, "created_by")));
    }
  }

  template <class Say>
  void compare_files(const BuiltImage& built, const json::object& want, Say& say) {
    const auto& layers = built.image.config.diff_ids;
    std::size_t below = 0;
    if (const auto* base = want.if_contains("base"); base && base->is_string())
      below = f_.store().image(std::string(base->get_string()))->config.diff_ids.size();
    std::map<std::string, fs::path> have;  // path → where it is on disk
    std::set<std::string> gone;
    for (std::size_t i = below; i < layers.size(); ++i)
      collect(f_.home() / "state/layers/sha256" / layers[i].hex(), have, gone);
    const auto& files = want.at("files").as_object();
    for (const auto& [path, value] : files) {
      const auto& entry = value.as_object();
      const std::string name(path);
      if (entry.contains("opaque")) continue;
      if (entry.contains("deleted") || text_at(entry, "type") == "deleted") {
        if (!gone.contains(name)) say(name + " is not deleted");
        continue;
      }
      const auto found = have.find(name);
      if (found == have.end()) {
        say(name + " is missing");
      } else {
        compare_file(name, found->second, entry, say);
      }
    }
    for (const auto& [path, place] : have)
      if (!files.contains(path)) say(path + " is too much");
  }

  static void collect(const fs::path& layer, std::map<std::string, fs::path>& have, std::set<std::string>& gone) {
    for (const auto& entry : fs::recursive_directory_iterator(layer)) {
      const auto name = entry.path().lexically_relative(layer).string();
      if (entry.is_character_file()) {
        std::erase_if(have, [&](const auto& item) { return item.first == name || item.first.starts_with(name + "/"); });
        gone.insert(name);
      } else {
        have[name] = entry.path();
      }
    }
  }

  template <class Say>
  static void compare_file(const std::string& name, const fs::path& path, const json::object& want, Say& say) {
    struct stat status{};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    const std::string type = S_ISDIR(status.st_mode) ? "dir" : S_ISLNK(status.st_mode) ? "symlink" : "file";
    if (type != text_at(want, "type")) return say(fmt::format("{} is a {}", name, type));
    const auto number = [&](const char* what, std::int64_t have) {
      if (const auto* value = want.if_contains(what); value && value->as_int64() != have)
        say(fmt::format("{} has {} {}, not {}", name, what, have, value->as_int64()));
    };
    number("uid", status.st_uid - container::id_range_base);
    number("gid", status.st_gid - container::id_range_base);
    if (want.contains("mtime")) number("mtime", status.st_mtim.tv_sec);
    if (const auto mode = text_at(want, "mode"); !mode.empty() && mode != fmt::format("{:04o}", status.st_mode & 07777))
      say(fmt::format("{} has mode {:04o}, not {}", name, status.st_mode & 07777, mode));
    if (type == "symlink" && fs::read_symlink(path) != text_at(want, "target"))
      say(fmt::format("{} leads to {}", name, fs::read_symlink(path).string()));
    if (type == "file" && want.contains("sha256") &&
        Digest::of(value_of(read_file(path, 64 << 20))).hex() != text_at(want, "sha256"))
      say(name + " has other content");
    if (const auto* xattrs = want.if_contains("xattrs"); xattrs && xattrs->is_object())
      for (const auto& [key, value] : xattrs->get_object()) {
        char bytes[256];
        const auto got = ::getxattr(path.c_str(), std::string(key).c_str(), bytes, sizeof bytes);
        if (got < 0 || std::string_view(bytes, static_cast<std::size_t>(got)) != std::string_view(value.as_string()))
          say(fmt::format("{} has another xattr {}", name, std::string_view(key)));
      }
  }

  fs::path data_;
  std::set<std::string> targets_;  // of symlinks
  RealFixture f_;
  int contexts_ = 0;
};

/// Where Wick differs from the oracle on purpose.
const std::map<std::string, std::string>& known_misses() {
  static const std::map<std::string, std::string> misses{};
  return misses;
}

}  // namespace

TEST_CASE("buildah's conformance cases come out as BuildKit builds them", "[conformance]") {
  const auto data = shared_data("testdata/dockerfile/buildah-conformance");
  if (!data) return;
  Conformance conformance(*data);
  const char* only = std::getenv("WICK_CASE");
  const auto cases = json_of(*data / "cases.json");
  int passed = 0;
  for (const auto& item : cases.as_array()) {
    const auto name = fs::path(text_at(item.as_object(), "dockerfile")).stem().string();
    if (only && name != only) continue;
    const auto difference = conformance.run(item.as_object());
    if (difference.empty()) {
      ++passed;
      continue;
    }
    const bool known = known_misses().contains(name);
    std::cerr << (known ? "known miss " : "MISS ") << name << ": " << difference << '\n';
    if (!known) FAIL_CHECK(name << ": " << difference);
  }
  if (!only) CHECK(passed >= 112);
  std::printf("conformance: %d of %zu cases\n", passed, cases.as_array().size());
}

}  // namespace wick::build
