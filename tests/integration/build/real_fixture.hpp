// A Builder over a real runner, in folders of its own.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <map>
#include <optional>

#include "support/run_loop.hpp"
#include "wick/build/build.hpp"
#include "wick/container/name_server.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/files.hpp"
#include "wick/os/seqpacket.hpp"
#include "wick/os/task_group.hpp"

namespace wick::build {

template <class T>
T value_of(Result<T> result) {
  if (!result) FAIL(result.error().what());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class RealFixture {
 public:
  using Files = std::map<std::string, std::string>;

  RealFixture() {
    ::chmod(home_.path().c_str(), 0755);  // the run folder must be reachable
    auto pair = value_of(Seqpacket::pair());
    ProcessOptions options{.argv = {"/proc/self/exe", "runner", home_.path() / "state", home_.path() / "run"},
                           .stderr_fd = 2,
                           .extra_fds = {{pair.second.get(), 3}}};
    auto process = value_of(ChildProcess::spawn(loop_.get_executor(), options));
    process_.emplace(std::move(process));
    client_ = std::make_unique<container::RunnerClient>(loop_.get_executor(), std::move(pair.first));
    client_->on_inside([this](const container::InstanceId&, const EgressPolicy&,
                              container::Inside inside) { serve_names(std::move(inside)); },
                       [](const container::InstanceId&) {});
    tasks_.spawn("client", client_->run());
    store_ = value_of(image::ContentStore::open(home_.path() / "content"));
    builder_ = std::make_unique<Builder>(
        loop_.get_executor(), clock_, workers_, *client_, *store_,
        Builder::Places{
            .builders = WICK_SOURCE_ROOT "/builders", .work = home_.path() / "work", .cache = home_.path() / "cache"});
  }
  ~RealFixture() {
    builder_.reset();
    process_.reset();  // kills it
    client_->close();
    run_on(loop_, tasks_.stop());
    client_.reset();
  }

  /// "name" → content, executable when it ends in '!'; "name@" → symlink.
  std::filesystem::path upload(const Files& files) {
    const auto folder = home_.path() / ("upload-" + std::to_string(++uploads_));
    for (const auto& [key, content] : files) {
      const bool marked = key.ends_with('@') || key.ends_with('!');
      const auto path = folder / (marked ? key.substr(0, key.size() - 1) : key);
      value_of(make_folders(path.parent_path()));
      if (key.ends_with('@')) {
        std::filesystem::create_symlink(content, path);
      } else {
        value_of(write_file(path, content, key.ends_with('!') ? 0755 : 0644));
      }
    }
    return pack(folder);
  }
  std::filesystem::path pack(const std::filesystem::path& folder) {
    const auto tar = home_.path() / ("upload-" + std::to_string(++uploads_) + ".tar");
    auto out = value_of(open_file(tar, O_WRONLY | O_CREAT | O_TRUNC, 0600));
    (void)value_of(image::pack(folder, out.get(), {}));
    return tar;
  }

  std::expected<BuiltImage, BuildFailure> build(BuildRequest request) {
    lines.clear();
    auto listen = [this](const Progress& progress) { lines.push_back(progress.text); };
    const auto begun = clock_.now();
    auto built = run_on(loop_, builder_->run(std::move(request), listen));
    took = std::chrono::duration_cast<milliseconds>(clock_.now() - begun);
    return built;
  }
  std::expected<BuiltImage, BuildFailure> build(const Files& files, std::string name = "test:latest") {
    return build(BuildRequest{.source = ArchiveSource{.path = upload(files)}, .reference = std::move(name)});
  }
  BuiltImage must_build(const Files& files, std::string name = "test:latest") {
    auto built = build(files, std::move(name));
    if (!built) {
      for (const auto& line : lines) std::fprintf(stderr, "%s\n", line.c_str());
      FAIL(built.error().error.what());
    }
    return std::move(*built);
  }

  /// A local image "busybox": /bin/busybox with the applets as links, /etc/passwd with user app.
  void add_busybox() {
    Files files{{"bin/busybox!", value_of(read_file("/bin/busybox"))},
                {"etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n"},
                {"etc/group", "root:x:0:\napp:x:1000:\n"},
                {"Dockerfile", "FROM scratch\nCOPY bin /bin\nCOPY etc /etc\nWORKDIR /tmp\nCMD [\"sh\"]\n"}};
    for (const char* name : {"sh", "cat",  "ls",    "id",   "echo", "mkdir", "touch", "mount", "grep", "env", "pwd",
                             "dd", "stat", "sleep", "test", "head", "tail",  "ln",    "chmod", "rm",   "wc",  "seq"})
      files[std::string("bin/") + name + "@"] = "busybox";
    (void)must_build(files, "busybox:latest");
  }

  /// Looks `path` up from the top layer down.
  std::optional<std::string> file(const BuiltImage& built, const std::string& path) const {
    for (const auto& layer : layers_of(built))
      if (auto text = read_file(layer / path)) return *text;
    return std::nullopt;
  }
  std::optional<struct stat> status(const BuiltImage& built, const std::string& path) const {
    struct stat out{};
    for (const auto& layer : layers_of(built))
      if (::lstat((layer / path).c_str(), &out) == 0) return out;
    return std::nullopt;
  }

  std::vector<std::string> lines;
  milliseconds took{0};
  const std::filesystem::path& home() const { return home_.path(); }
  asio::io_context& loop() { return loop_; }
  image::ContentStore& store() { return *store_; }
  bool left_over() const {
    const auto steps = home_.path() / "state/steps";
    return (std::filesystem::exists(steps) && !std::filesystem::is_empty(steps)) ||
           !std::filesystem::is_empty(home_.path() / "work");
  }

 private:
  /// Steps ask the daemon for names; nobody else answers in their network.
  void serve_names(container::Inside inside) {
    tasks_.spawn("dns", names_.serve_udp(std::move(inside.dns_udp), {}));
    tasks_.spawn("dns over tcp", names_.serve_tcp(std::move(inside.dns_tcp), {}));
  }

  std::vector<std::filesystem::path> layers_of(const BuiltImage& built) const {
    std::vector<std::filesystem::path> out;
    const auto& layers = built.image.config.diff_ids;
    for (std::size_t i = layers.size(); i-- > 0;) out.push_back(home_.path() / "state/layers/sha256" / layers[i].hex());
    return out;
  }

  TemporaryFolder home_ = value_of(TemporaryFolder::make("/var/tmp", "wick-build-"));
  asio::io_context loop_{1};
  SteadyClock clock_;
  WorkerPool workers_;
  container::NameServer names_{loop_.get_executor(), clock_, [](std::string_view) { return false; }};
  std::optional<ChildProcess> process_;
  std::unique_ptr<container::RunnerClient> client_;
  std::optional<image::ContentStore> store_;
  std::unique_ptr<Builder> builder_;
  int uploads_ = 0;
  TaskGroup tasks_{loop_.get_executor()};
};

}  // namespace wick::build
