// A Builder over a FakeRunner, and sources written as texts.
#pragma once

#include <fcntl.h>

#include <map>

#include "fake_runner.hpp"
#include "support/run_loop.hpp"
#include "wick/build/build.hpp"

namespace wick::build {

struct BuildFixture {
  using Files = std::map<std::string, std::string>;

  TemporaryFolder home = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-build-").value();
  asio::io_context loop{1};
  SteadyClock clock;
  WorkerPool workers{2};
  FakeRunner runner{loop.get_executor(), home.path() / "runner"};
  image::ContentStore store = image::ContentStore::open(home.path() / "content").value();
  Builder builder{
      loop.get_executor(),
      clock,
      workers,
      runner,
      store,
      {.builders = WICK_SOURCE_ROOT "/builders", .work = home.path() / "work", .cache = home.path() / "cache"}};
  std::vector<std::string> cached;
  std::vector<std::string> started;
  std::vector<std::string> output;
  int uploads = 0;

  /// "name" → content; "name@" → symlink.
  std::filesystem::path upload(const Files& files, std::int64_t mtime = 1'700'000'000) {
    const auto folder = home.path() / ("upload-" + std::to_string(++uploads));
    for (const auto& [name, content] : files) {
      const bool link = name.ends_with('@');
      const auto path = folder / (link ? name.substr(0, name.size() - 1) : name);
      (void)make_folders(path.parent_path());
      if (link) {
        std::filesystem::create_symlink(content, path);
        continue;
      }
      (void)write_file(path, content);
      std::filesystem::last_write_time(path, std::filesystem::file_time_type(std::chrono::file_clock::from_sys(
                                                 std::chrono::sys_seconds(std::chrono::seconds(mtime)))));
    }
    const auto tar = folder.string() + ".tar";
    auto out = open_file(tar, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    (void)image::pack(folder, out->get(), {});
    return tar;
  }

  BuildRequest request(const Files& files) {
    return {.source = ArchiveSource{.path = upload(files)}, .reference = "hello:latest"};
  }

  OnProgress listen() {
    return [this](const Progress& progress) {
      if (progress.step != "build") return;
      if (progress.kind == Progress::Kind::cached) cached.push_back(progress.text);
      if (progress.kind == Progress::Kind::started && progress.text.starts_with("[")) started.push_back(progress.text);
      if (progress.kind == Progress::Kind::output) output.push_back(progress.text);
    };
  }

  std::expected<BuiltImage, BuildFailure> build(BuildRequest wanted) {
    cached.clear();
    started.clear();
    output.clear();
    return run_on(loop, builder.run(std::move(wanted), listen()));
  }
  std::expected<BuiltImage, BuildFailure> build(const Files& files) { return build(request(files)); }

  /// The text of a file of the image, looked up from the top layer down.
  std::optional<std::string> file(const BuiltImage& built, const std::string& path) const {
    const auto& layers = built.image.config.diff_ids;
    for (std::size_t i = layers.size(); i-- > 0;)
      if (auto text = read_file(runner.layer_folder(layers[i]) / path)) return *text;
    return std::nullopt;
  }
};

}  // namespace wick::build
