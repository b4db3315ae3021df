#include "step_runner.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>

#include "added_archive.hpp"
#include "blob_pipe.hpp"
#include "output_lines.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::build {

namespace {

std::vector<Digest> digests_of(const std::vector<image::Descriptor>& layers) {
  std::vector<Digest> out;
  for (const auto& layer : layers) out.push_back(layer.digest);
  return out;
}

Result<void> rewind(int file) {
  if (::lseek(file, 0, SEEK_SET) != 0) return fail(system_error("seek", errno));
  return {};
}

/// "1000" or "1000:50": no passwd file is needed (there is none on scratch).
std::optional<container::UserIds> numeric_ids(std::string_view user) {
  const auto colon = user.find(':');
  const auto uid = parse_unsigned(user.substr(0, colon));
  const auto gid = colon == std::string_view::npos ? uid : parse_unsigned(user.substr(colon + 1));
  if (!uid || !gid || *uid >= container::id_range_size || *gid >= container::id_range_size) return std::nullopt;
  return container::UserIds{.uid = static_cast<std::uint32_t>(*uid), .gid = static_cast<std::uint32_t>(*gid)};
}

/// Where a wildcard starts: "a/b/*.c" is folder "a/b" and pattern "*.c".
std::pair<std::string, std::string> split_wildcard(const std::string& source) {
  if (!Glob::has_wildcards(source)) return {Glob::unescape(source), ""};
  std::string folder;
  std::string rest = source;
  for (auto slash = rest.find('/'); slash != std::string::npos; slash = rest.find('/')) {
    if (Glob::has_wildcards(rest.substr(0, slash))) break;
    folder += (folder.empty() ? "" : "/") + Glob::unescape(rest.substr(0, slash));
    rest.erase(0, slash + 1);
  }
  return {folder, rest};
}

}  // namespace

ExitWatch::Waiter::Waiter(ExitWatch& watch, container::InstanceId id)
    : watch_(watch), id_(id), ended_(watch.executor_, asio::steady_timer::time_point::max()) {
  watch_.waiters_[id_] = this;
}

ExitWatch::Waiter::~Waiter() { watch_.waiters_.erase(id_); }

void ExitWatch::Waiter::on_exit(std::function<void()> callback) {
  callback_ = std::move(callback);
  if (exit_ && callback_) callback_();
}

awaitable<container::Exit> ExitWatch::Waiter::wait() {
  while (!exit_) {
    auto waited = co_await ended_.async_wait(asio::as_tuple(use_awaitable));
    if (!exit_) throw boost::system::system_error(std::get<0>(waited));
  }
  co_return *exit_;
}

void ExitWatch::ended(const container::Exit& exit) {
  const auto found = waiters_.find(exit.id);
  if (found == waiters_.end() || found->second->exit_) return;
  found->second->exit_ = exit;
  found->second->ended_.cancel();
  if (found->second->callback_) found->second->callback_();
}

Result<Fd> StepRunner::scratch_file() const {
  Fd file(::open(parts_.work.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) return fail(system_error("make a file in " + parts_.work.string(), errno));
  return file;
}

/// open_step → act → commit; on any other way out the step is discarded.
awaitable<Result<StepResult>> StepRunner::run(const Step& step, const StepInputs& inputs) {
  const auto id = container::InstanceId::random();
  if (inputs.layers.size() >= container::layers_max)
    co_return fail(Errc::too_large, fmt::format("the image would have more than {} layers", container::layers_max),
                   "join RUN lines with &&");
  Result<StepResult> result;
  std::exception_ptr thrown;
  try {
    auto opened = co_await parts_.runner.open_step(id, digests_of(inputs.layers));
    if (!opened) co_return fail(std::move(opened.error()));
    auto acted = co_await act(id, step, inputs);
    if (acted) {
      result = co_await commit(id);
    } else {
      result = fail(std::move(acted.error()));
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown || !result) {
    // Cancelled or not, what the runner holds for this step is given back first.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    auto discarded = co_await parts_.runner.discard_step(id);
    (void)discarded;  // the first error is the one to tell
  }
  if (thrown) std::rethrow_exception(thrown);
  co_return result;
}

awaitable<Result<void>> StepRunner::act(container::InstanceId id, const Step& step, const StepInputs& inputs) {
  if (const auto* run = std::get_if<RunStep>(&step.action)) co_return co_await command(id, *run, inputs);
  if (const auto* made = std::get_if<FolderStep>(&step.action)) co_return co_await folder(id, *made, inputs);
  const auto& wanted = std::get<CopyStep>(step.action);
  const bool from_source = wanted.from == CopyStep::From::context;
  Result<void> copied;
  if (from_source) {
    copied = co_await copy(id, wanted, inputs, false);
  } else {
    copied = co_await copy_from(id, wanted, inputs, false);
  }
  // A file onto a folder that is there goes inside it. The step is as it was: a conflict is found before anything is
  // replaced.
  if (!copied && copied.error().code() == Errc::conflict && !wanted.destination.ends_with('/')) {
    if (from_source) {
      copied = co_await copy(id, wanted, inputs, true);
    } else {
      copied = co_await copy_from(id, wanted, inputs, true);
    }
  }
  co_return copied;
}

awaitable<Result<StepResult>> StepRunner::commit(container::InstanceId id) {
  auto pack = [this, id](Fd out) {
    return parts_.runner.pack_step(id, std::move(out), context_.dated ? context_.epoch : -1);
  };
  auto layer = co_await name_layer(parts_.workers, std::move(pack));
  if (!layer) co_return fail(std::move(layer.error()));
  if (!*layer) {
    auto discarded = co_await parts_.runner.discard_step(id);
    if (!discarded) co_return fail(std::move(discarded.error()));
    co_return StepResult{};
  }
  parts_.pins.add((*layer)->digest);
  auto published = co_await parts_.runner.publish_step(id, (*layer)->digest);
  if (!published) co_return fail(std::move(published.error()));
  co_return StepResult{**layer};
}

awaitable<Result<container::UserIds>> StepRunner::ids_of(std::string user, const StepInputs& inputs) {
  if (user.empty()) co_return container::UserIds{};
  if (const auto numeric = numeric_ids(user)) co_return *numeric;
  auto resolved = co_await parts_.runner.resolve_user(digests_of(inputs.layers), user);
  if (!resolved && resolved.error().code() == Errc::not_found)
    co_return fail(Errc::not_found, fmt::format("the image has no user '{}'", printable(user)),
                   "add it with RUN useradd, or give numbers: 1000:1000");
  co_return resolved;
}

awaitable<Result<void>> StepRunner::command(container::InstanceId id, const RunStep& step, const StepInputs& inputs) {
  auto ids = co_await ids_of(step.user, inputs);
  if (!ids) co_return fail(std::move(ids.error()));
  container::InstanceSpec spec{
      .id = container::InstanceId::random(),
      .id_range = container::store_id_range,
      .step = id,
      .process = {.argv = step.argv,
                  .environment = step.environment,
                  .working_folder = step.working_folder,
                  .uid = ids->uid,
                  .gid = ids->gid,
                  .groups = ids->groups},
      .limits = settings_.limits,
      .egress = step.isolated ? EgressPolicy{.base = Egress::none, .allow = {}} : settings_.egress,
      .privileges = container::Privileges::build,
      .allow_root = true,
  };
  Held held;
  auto& environment = spec.process.environment;
  environment.insert(environment.end(), step.proxies.begin(), step.proxies.end());
  const auto& network = settings_.network_environment;
  if (spec.egress.base != Egress::none) environment.insert(environment.end(), network.begin(), network.end());
  const bool has_home = std::ranges::any_of(environment, [](const auto& entry) { return entry.starts_with("HOME="); });
  if (!has_home && ids->uid == 0) environment.emplace_back("HOME=/root");
  const auto instance = spec.id;
  Result<void> executed;
  std::exception_ptr thrown;
  try {
    executed = co_await mounts(step, inputs, spec, held);
    if (executed) executed = co_await execute(std::move(spec));
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  auto removed = co_await parts_.runner.remove(instance);
  for (const auto& opened : held.steps) {
    auto discarded = co_await parts_.runner.discard_step(opened);
    if (!discarded) log::warn("step left behind", {{"error", discarded.error().what()}});
  }
  if (thrown) std::rethrow_exception(thrown);
  if (executed && !removed) co_return removed;
  co_return executed;
}

/// Output goes through a pipe, so that every line is seen when it is written. It ends when the last writer is gone or
/// when the process has ended, whichever comes first.
awaitable<Result<void>> StepRunner::execute(container::InstanceSpec spec) {
  auto executor = co_await asio::this_coro::executor;
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  ::fcntl(pipe->second.get(), F_SETFL, O_APPEND);
  const auto id = spec.id;
  ExitWatch::Waiter waiter(parts_.exits, id);
  auto prepared = co_await parts_.runner.prepare(std::move(spec), std::move(pipe->second));
  if (!prepared) co_return fail(std::move(prepared.error()));
  auto started = co_await parts_.runner.start(id);
  if (!started) co_return started;

  ::fcntl(pipe->first.get(), F_SETFL, O_NONBLOCK);
  asio::posix::stream_descriptor reader(executor, pipe->first.release());
  waiter.on_exit([&reader] { reader.cancel(); });
  OutputLines lines(settings_.on_output);
  std::array<char, 16384> chunk;
  while (!waiter.exit()) {
    auto got = co_await reader.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    lines.add({chunk.data(), bytes});
    if (error == asio::error::operation_aborted && !waiter.exit()) throw boost::system::system_error(error);
    if (error) break;
  }
  waiter.on_exit({});
  const auto exit = co_await waiter.wait();
  // What the process wrote before it ended is in the pipe by now.
  while (true) {
    const auto got = ::read(reader.native_handle(), chunk.data(), chunk.size());
    if (got <= 0) break;
    lines.add({chunk.data(), static_cast<std::size_t>(got)});
  }
  lines.finish();
  out_of_memory_ = exit.out_of_memory;
  if (exit.out_of_memory)
    co_return fail(
        Errc::build_failed,
        fmt::format("it was killed: out of memory, the limit is {}", human_bytes(settings_.limits.memory_bytes)),
        "raise the build's memory limit, or build with fewer jobs (make -j1)");
  if (!exit.status.ok()) co_return fail(Errc::build_failed, fmt::format("it ended with {}", exit.status.text()));
  co_return Result<void>{};
}

awaitable<Result<void>> StepRunner::copy(container::InstanceId id, const CopyStep& step, const StepInputs& inputs,
                                         bool into_folder) {
  auto ids = co_await ids_of(step.owner, inputs);
  if (!ids) co_return fail(std::move(ids.error()));
  if (!step.sources.empty() || !step.files.empty()) {
    const Origin origin{context_.tree, *inputs.selection, context_.epoch, context_.same_time};
    auto copied = co_await copy_entries(id, step, origin, *ids, into_folder);
    if (!copied) co_return copied;
  }
  CopyStep remote = step;
  remote.files.clear();
  remote.unpack = step.unpack_remote;
  for (const auto& source : inputs.remotes) {
    const Origin origin{source->tree, source->selection, source->epoch, source->same_time};
    auto copied = co_await copy_entries(id, remote, origin, *ids, into_folder);
    if (!copied) co_return copied;
  }
  co_return Result<void>{};
}

awaitable<Result<void>> StepRunner::copy_entries(container::InstanceId id, const CopyStep& step, Origin origin,
                                                 container::UserIds ids, bool into_folder) {
  Selection plain = origin.selection;
  if (step.unpack) {
    plain.entries.clear();
    for (const auto& selected : origin.selection.entries) {
      bool archive = false;
      if (selected.is_source && selected.entry && selected.entry->kind == SourceEntry::Kind::file) {
        auto unpacked = co_await unpack_archive(id, step, origin, selected, ids);
        if (!unpacked) co_return fail(std::move(unpacked.error()).within(printable(selected.entry->path)));
        archive = *unpacked;
      }
      if (!archive) plain.entries.push_back(selected);
    }
    if (plain.entries.empty() && !origin.selection.entries.empty() && step.files.empty()) co_return Result<void>{};
  }
  auto file = scratch_file();
  if (!file) co_return fail(std::move(file.error()));
  TarOptions options{
      .uid = ids.uid, .gid = ids.gid, .epoch = origin.epoch, .same_time = origin.same_time, .into_folder = into_folder};
  auto write = [&step, &origin, &plain, options, out = file->get()]() -> Result<void> {
    if (auto written = write_selection(origin.tree, plain, step, options, out); !written) return written;
    return rewind(out);
  };
  auto written = co_await parts_.workers.run(std::move(write));
  if (!written) co_return written;
  auto unpacked = co_await parts_.runner.unpack_into(id, std::move(*file), container::Runner::Clash::refuse);
  co_return unpacked;
}

/// ADD knows an archive by its content: a compressed stream, or a tar's first header. The child without rights that
/// reads it also decides whether there is a tar inside.
awaitable<Result<bool>> StepRunner::unpack_archive(container::InstanceId id, const CopyStep& step, const Origin& origin,
                                                   const Selected& selected, container::UserIds ids) {
  auto archive = origin.tree.open_file(selected.entry->path);
  if (!archive) co_return fail(std::move(archive.error()));
  if (!may_be_archive(archive->get())) co_return false;
  auto file = scratch_file();
  if (!file) co_return fail(std::move(file.error()));
  const auto owner = step.owner.empty() ? std::string() : fmt::format("{}:{}", ids.uid, ids.gid);
  auto rewritten = co_await rewrite_added_archive(std::move(*archive), file->duplicate(), step.destination, owner);
  if (!rewritten || !*rewritten) co_return rewritten;
  if (auto back = rewind(file->get()); !back) co_return fail(std::move(back.error()));
  auto unpacked = co_await parts_.runner.unpack_into(id, std::move(*file), container::Runner::Clash::replace);
  if (!unpacked) co_return fail(std::move(unpacked.error()));
  co_return true;
}

awaitable<Result<void>> StepRunner::copy_from(container::InstanceId id, const CopyStep& step, const StepInputs& inputs,
                                              bool into_folder) {
  RewriteOptions options{.root = "copied",
                         .destination = step.destination,
                         .mode = step.mode,
                         .into_folder = into_folder,
                         .excludes = step.excludes};
  if (!step.owner.empty()) {
    auto ids = co_await ids_of(step.owner, inputs);
    if (!ids) co_return fail(std::move(ids.error()));
    options.owner = {ids->uid, ids->gid};
  }
  for (std::size_t i = 0; i < step.sources.size(); ++i) {
    const auto& source = step.sources[i];
    auto packed = scratch_file();
    auto renamed = scratch_file();
    if (!packed || !renamed) co_return fail(std::move((packed ? renamed : packed).error()));
    auto split = step.parents ? std::pair(step.pivots[i], source) : split_wildcard(source);
    options.parents = step.parents;
    options.source = split.second;
    options.file_name = base_name(split.first);
    auto made = co_await parts_.runner.pack(digests_of(inputs.from), split.first, options.root, packed->duplicate());
    if (!made && made.error().code() == Errc::not_found)
      co_return fail(Errc::not_found, fmt::format("'/{}' is not in {}", printable(source), inputs.from_name),
                     "is it made under another name there?");
    if (!made) co_return fail(std::move(made.error()));
    auto rename = [&options, in = packed->get(), out = renamed->get()]() -> Result<void> {
      if (auto back = rewind(in); !back) return back;
      if (auto rewritten = rewrite_archive(in, options, out); !rewritten) return fail(std::move(rewritten.error()));
      return rewind(out);
    };
    auto written = co_await parts_.workers.run(std::move(rename));
    if (!written) co_return written;
    auto unpacked = co_await parts_.runner.unpack_into(id, std::move(*renamed), container::Runner::Clash::refuse);
    if (!unpacked) co_return unpacked;
  }
  if (!step.files.empty()) {
    CopyStep inline_only = step;
    inline_only.sources.clear();
    StepInputs nothing = inputs;
    nothing.selection = std::make_shared<const Selection>();
    co_return co_await copy(id, inline_only, nothing, into_folder);
  }
  co_return Result<void>{};
}

awaitable<Result<void>> StepRunner::folder(container::InstanceId id, const FolderStep& step, const StepInputs& inputs) {
  if (step.path == "/") co_return Result<void>{};
  auto ids = co_await ids_of(step.user, inputs);
  if (!ids && ids.error().code() == Errc::not_found) ids = container::UserIds{};  // BuildKit: an unknown USER is root
  if (!ids) co_return fail(std::move(ids.error()));
  auto file = scratch_file();
  if (!file) co_return fail(std::move(file.error()));
  auto written = write_folder(step.path, {.uid = ids->uid, .gid = ids->gid, .epoch = context_.epoch}, file->get());
  if (!written) co_return written;
  if (auto back = rewind(file->get()); !back) co_return back;
  auto unpacked = co_await parts_.runner.unpack_into(id, std::move(*file), container::Runner::Clash::refuse);
  co_return unpacked;
}

// --- mounts of a RUN

/// The folder that a bind mount shows, as a step of its own: what is written to it goes with that.
awaitable<Result<container::InstanceId>> StepRunner::open_bind(const Mount& mount,
                                                               const std::vector<image::Descriptor>& from, Held& held) {
  const auto id = container::InstanceId::random();
  auto opened = co_await parts_.runner.open_step(id, digests_of(from));
  if (!opened) co_return fail(std::move(opened.error()));
  held.steps.push_back(id);
  if (!from.empty() || mount.from->kind != TakeFrom::Kind::context) co_return id;
  // From the source: only what the mount shows is brought there.
  Selection selection;
  for (const auto& entry : context_.visible.entries)
    if (mount.source.empty() || entry.path == mount.source || entry.path.starts_with(mount.source + "/"))
      selection.entries.push_back({entry.path, &entry});
  CopyStep step;
  step.destination = "/";
  const Origin origin{context_.tree, selection, context_.epoch, context_.same_time};
  auto copied = co_await copy_entries(id, step, origin, {}, false);
  if (!copied) co_return fail(std::move(copied.error()));
  co_return id;
}

awaitable<Result<void>> StepRunner::mounts(const RunStep& step, const StepInputs& inputs, container::InstanceSpec& spec,
                                           Held& held) {
  using Kind = container::StepMount::Kind;
  if (!step.script.empty())
    spec.mounts.push_back({.kind = Kind::bytes, .target = step.argv[0], .mode = 0755, .content = step.script});
  for (std::size_t i = 0; i < step.mounts.size(); ++i) {
    const auto& mount = step.mounts[i];
    container::StepMount out{.target = mount.target,
                             .source = mount.source,
                             .writable = mount.writable,
                             .mode = mount.mode,
                             .uid = mount.uid,
                             .gid = mount.gid,
                             .bytes_max = mount.bytes_max};
    switch (mount.type) {
      case Mount::Type::bind: {
        auto folder = co_await open_bind(mount, inputs.mounted[i], held);
        if (!folder) co_return fail(std::move(folder.error()).within("mount at " + mount.target));
        out.kind = Kind::folder;
        out.step = *folder;
        break;
      }
      case Mount::Type::cache: {
        auto use = co_await parts_.cache_mounts.use(mount);
        if (!use) co_return fail(std::move(use.error()).within("cache " + mount.id));
        out.kind = Kind::cache;
        out.cache = use->folder();
        out.source.clear();
        held.caches.push_back(std::move(*use));
        break;
      }
      case Mount::Type::tmpfs:
        out.kind = Kind::tmpfs;
        break;
      case Mount::Type::secret: {
        const auto found = settings_.secrets.find(mount.id);
        if (found == settings_.secrets.end()) {
          if (!mount.required) continue;
          co_return fail(
              Errc::not_found, fmt::format("the secret '{}' was not given", printable(mount.id, 60)),
              fmt::format("give it: --secret id={},src=FILE; or leave required out where the step can do without it",
                          printable(mount.id, 60)));
        }
        if (!mount.variable.empty()) spec.process.environment.push_back(mount.variable + "=" + found->second);
        if (mount.target.empty()) continue;
        out.kind = Kind::bytes;
        out.content = found->second;
        break;
      }
      case Mount::Type::ssh:
        // No client hands its agent to the daemon yet: as when docker build runs without --ssh.
        if (mount.required)
          co_return fail(Errc::unsupported, "there is no ssh agent for this build",
                         "give the key as a secret: --mount=type=secret,id=ssh-key");
        continue;
    }
    spec.mounts.push_back(std::move(out));
  }
  co_return Result<void>{};
}

}  // namespace wick::build
