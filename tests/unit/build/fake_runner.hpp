// A Runner without root: layers and steps are folders, a step's root is a copy, a process is a function of the test.
#pragma once

#include <boost/asio/post.hpp>
#include <functional>
#include <map>
#include <set>

#include "wick/container/runner.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

class FakeRunner final : public container::Runner {
 public:
  using Id = container::InstanceId;
  struct Process {
    std::filesystem::path root;
    container::InstanceSpec spec;
    std::string output;
    container::Exit exit;
    bool ends = true;
  };

  FakeRunner(Executor executor, std::filesystem::path folder) : executor_(executor), folder_(std::move(folder)) {}

  std::function<void(Process&)> on_run = [](Process&) {};
  std::set<Digest> layers_in_use;
  std::size_t runs = 0;
  std::size_t bootstraps = 0;
  std::size_t calls = 0;
  std::size_t fail_at = 0;  // this call fails; 0: none

  std::size_t open_steps() const { return steps_.size(); }
  std::size_t instances() const { return instances_.size(); }
  std::filesystem::path layer_folder(const Digest& layer) const { return folder_ / "layers" / layer.hex(); }
  void forget_layers() {
    layers_.clear();
    (void)remove_tree(folder_ / "layers");
  }

  awaitable<Result<container::Prepared>> prepare(container::InstanceSpec spec, Fd log) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    if (!steps_.contains(spec.step)) co_return fail(Errc::not_found, "no such step");
    instances_[spec.id] = {std::move(spec), std::make_shared<Fd>(std::move(log))};
    co_return container::Prepared{.pid = 1};
  }
  awaitable<Result<void>> start(Id id) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    auto& instance = instances_.at(id);
    ++runs;
    Process process{.root = root_of(instance.spec.step), .spec = instance.spec, .exit = {.id = id}};
    on_run(process);
    (void)write_all(instance.log->get(), process.output);
    if (!process.ends) co_return Result<void>{};
    instance.log->reset();
    asio::post(executor_, [this, exit = process.exit] {
      if (callback_) callback_(exit);
    });
    co_return Result<void>{};
  }
  awaitable<Result<void>> park(Id) override { co_return fail(Errc::unsupported, "steps are not parked"); }
  awaitable<Result<Fd>> freeze(Id) override { co_return fail(Errc::unsupported, "steps are not frozen"); }
  awaitable<Result<void>> thaw(Id) override { co_return fail(Errc::unsupported, "steps are not frozen"); }
  awaitable<Result<Fd>> await_listening(Id, std::uint16_t, std::chrono::milliseconds) override {
    co_return fail(Errc::unavailable, "nobody listens");
  }
  awaitable<Result<void>> signal(Id, int) override { co_return Result<void>{}; }
  awaitable<Result<void>> remove(Id id) override {
    instances_.erase(id);
    co_return Result<void>{};
  }
  awaitable<Result<std::vector<container::Existing>>> list() override { co_return std::vector<container::Existing>{}; }
  awaitable<Result<std::vector<Fd>>> connect(Id, std::uint16_t, std::size_t) override {
    co_return fail(Errc::unavailable, "nobody listens");
  }
  awaitable<Result<void>> update_volumes(Id, std::vector<container::Volume>,
                                         std::vector<container::VolumeMount>) override {
    co_return Result<void>{};
  }
  awaitable<Result<container::Executed>> execute(Id, container::Process, std::chrono::milliseconds) override {
    co_return container::Executed{};
  }
  awaitable<Result<container::Command>> begin_command(Id, container::Process, container::CommandOptions) override {
    co_return fail(Errc::unsupported, "the fake runs no command");
  }
  awaitable<Result<container::Usage>> usage(Id) override { co_return container::Usage{}; }
  awaitable<Result<std::vector<container::Listening>>> listening(Id) override {
    co_return std::vector<container::Listening>{};
  }
  void on_exit(std::function<void(const container::Exit&)> callback) override { callback_ = std::move(callback); }

  awaitable<Result<bool>> has_layer(Digest layer) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    co_return layers_.contains(layer);
  }
  awaitable<Result<void>> import_layer(Digest layer, Fd tar) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    (void)make_folders(layer_folder(layer));
    auto unpacked = image::unpack(tar.get(), layer_folder(layer), image::Whiteouts::refuse, {}, image::Owners::mine);
    if (!unpacked) co_return fail(std::move(unpacked.error()));
    layers_.insert(layer);
    co_return Result<void>{};
  }
  awaitable<Result<std::vector<Digest>>> layers() override {
    co_return std::vector<Digest>(layers_.begin(), layers_.end());
  }
  awaitable<Result<std::uint64_t>> remove_layer(Digest layer) override {
    if (layers_in_use.contains(layer)) co_return fail(Errc::conflict, "the layer is in use");
    layers_.erase(layer);
    co_return 1000;
  }
  awaitable<Result<void>> pack(std::vector<Digest> layers, std::string subpath, std::string prefix, Fd out) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    const auto root = folder_ / "union";
    (void)remove_tree(root);
    join(layers, root);
    auto packed = image::pack(root, out.get(), {.subpath = subpath, .prefix = prefix});
    if (!packed) co_return fail(std::move(packed.error()));
    co_return Result<void>{};
  }
  awaitable<Result<container::UserIds>> resolve_user(std::vector<Digest>, std::string user) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    if (user == "app") co_return container::UserIds{.uid = 1000, .gid = 1000};
    co_return fail(Errc::not_found, "no user " + user);
  }

  awaitable<Result<void>> open_step(Id step, std::vector<Digest> layers) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    for (const auto& layer : layers)
      if (!layers_.contains(layer)) co_return fail(Errc::not_found, "no layer " + layer.text());
    join(layers, root_of(step));
    join(layers, folder_ / "steps" / step.text() / "before");
    steps_.insert(step);
    co_return Result<void>{};
  }
  awaitable<Result<void>> pack_layer(Digest layer, Fd out) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    auto packed = image::pack(layer_folder(layer), out.get(), {});
    if (!packed) co_return fail(std::move(packed.error()));
    co_return Result<void>{};
  }
  awaitable<Result<void>> unpack_into(Id step, Fd tar, Clash clash) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    const auto whiteouts = clash == Clash::replace ? image::Whiteouts::refuse_and_replace : image::Whiteouts::refuse;
    auto unpacked = image::unpack(tar.get(), root_of(step), whiteouts, {}, image::Owners::mine);
    if (!unpacked) co_return fail(std::move(unpacked.error()));
    co_return Result<void>{};
  }
  awaitable<Result<void>> pack_step(Id step, Fd out, std::int64_t clamp_mtime) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    auto packed = image::pack(changes_of(step), out.get(), {.clamp_mtime = clamp_mtime});
    if (!packed) co_return fail(std::move(packed.error()));
    co_return Result<void>{};
  }
  awaitable<Result<void>> publish_step(Id step, Digest layer) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    (void)remove_tree(layer_folder(layer));
    (void)make_folders(folder_ / "layers");
    std::filesystem::rename(changes_of(step), layer_folder(layer));
    layers_.insert(layer);
    steps_.erase(step);
    co_return Result<void>{};
  }
  awaitable<Result<void>> discard_step(Id step) override {
    steps_.erase(step);
    co_return Result<void>{};
  }
  awaitable<Result<void>> bootstrap(std::string, Fd out) override {
    if (auto bad = call()) co_return fail(std::move(*bad));
    ++bootstraps;
    const auto root = folder_ / "debian";
    (void)make_folders(root / "etc");
    (void)write_file(root / "etc/debian_version", "12.12\n");
    auto packed = image::pack(root, out.get(), {.clamp_mtime = 0});
    if (!packed) co_return fail(std::move(packed.error()));
    co_return Result<void>{};
  }

 private:
  struct Instance {
    container::InstanceSpec spec;
    std::shared_ptr<Fd> log;
  };
  std::optional<Error> call() {
    if (++calls != fail_at) return std::nullopt;
    return Error(Errc::io, "the runner failed on purpose");
  }
  std::filesystem::path root_of(const Id& step) const { return folder_ / "steps" / step.text() / "root"; }
  void join(const std::vector<Digest>& layers, const std::filesystem::path& into) const {
    namespace fs = std::filesystem;
    (void)make_folders(into);
    for (const auto& layer : layers)
      fs::copy(layer_folder(layer), into,
               fs::copy_options::recursive | fs::copy_options::overwrite_existing | fs::copy_options::copy_symlinks);
  }
  /// A folder with what differs from the layers below.
  std::filesystem::path changes_of(const Id& step) const {
    namespace fs = std::filesystem;
    const auto root = root_of(step);
    const auto before = folder_ / "steps" / step.text() / "before";
    const auto upper = folder_ / "steps" / step.text() / "upper";
    (void)make_folders(upper);
    for (fs::recursive_directory_iterator at(root), end; at != end; ++at) {
      const auto path = at->path().lexically_relative(root);
      const bool same = fs::exists(fs::symlink_status(before / path)) &&
                        (!at->is_regular_file() || read_file(at->path()).value() == read_file(before / path).value());
      if (same || fs::exists(fs::symlink_status(upper / path))) continue;
      fs::create_directories((upper / path).parent_path());
      if (at->is_directory() && !at->is_symlink()) {
        fs::create_directory(upper / path);
      } else {
        fs::copy(at->path(), upper / path, fs::copy_options::copy_symlinks);
        if (at->is_regular_file() && !at->is_symlink())
          fs::last_write_time(upper / path, fs::last_write_time(at->path()));
      }
    }
    return upper;
  }

  Executor executor_;
  std::filesystem::path folder_;
  std::set<Digest> layers_;
  std::set<Id> steps_;
  std::map<Id, Instance> instances_;
  std::function<void(const container::Exit&)> callback_;
};

}  // namespace wick::build
