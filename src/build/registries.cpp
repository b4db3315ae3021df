// One child an errand. It is told where to go on its standard input (credentials are in it, so it is no argument), says
// on its standard output what came of it, and asks there which layers are known.
#include "wick/build/registries.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "fetch_events.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"
#include "wick/os/together.hpp"

namespace wick::build {

namespace {

constexpr auto resolve_limit = std::chrono::seconds(20);
constexpr auto transfer_limit = std::chrono::minutes(30);
constexpr std::size_t said_line_bytes_max = 8 << 10;

struct Errand {
  std::vector<std::string> arguments;
  std::string request;  // one line
  KnowsLayer knows;
  WriteArchive archive;
  OnRegistryLine on_line;
};

struct Said {
  std::vector<Digest> digests;
  std::optional<Digest> image;
  std::optional<Error> error;
};

class RegistryChild {
 public:
  static awaitable<Result<Said>> run(Errand errand) {
    auto input = make_pipe();
    if (!input) co_return fail(std::move(input.error()));
    auto output = make_pipe();
    if (!output) co_return fail(std::move(output.error()));
    std::vector<std::string> argv{"/proc/self/exe", "helper", "fetch"};
    argv.insert(argv.end(), errand.arguments.begin(), errand.arguments.end());
    ProcessOptions options{.argv = std::move(argv),
                           .environment = std::vector<std::string>{"PATH=/usr/bin:/bin", "LC_ALL=C"},
                           .stdin_fd = input->first.get(),
                           .stdout_fd = output->second.get(),
                           .stderr_fd = STDERR_FILENO};
    auto executor = co_await asio::this_coro::executor;
    auto child = ChildProcess::spawn(executor, options);
    if (!child) co_return fail(std::move(child.error()));
    input->first.reset();
    output->second.reset();
    RegistryChild self(executor, *child, std::move(errand), std::move(input->second), std::move(output->first));
    auto feeding = self.feed();
    auto listening = self.listen();
    auto done = co_await both(std::move(feeding), std::move(listening));
    auto& [fed, said] = done;
    const auto status = co_await child->wait();
    if (!fed) co_return fail(std::move(fed.error()));
    if (said && said->error) co_return fail(std::move(*said->error));
    if (!said) co_return said;
    if (!status.ok())
      co_return fail(Errc::internal, fmt::format("the child that asks registries ended with {}", status.text()));
    co_return said;
  }

 private:
  RegistryChild(Executor executor, ChildProcess& child, Errand errand, Fd into, Fd from)
      : child_(child), errand_(std::move(errand)), into_(executor, into.release()), from_(executor, from.release()) {}

  /// A child that has ended has said why.
  awaitable<Result<void>> tell(std::string_view bytes) {
    auto wrote = co_await asio::async_write(into_, asio::buffer(bytes), asio::as_tuple(use_awaitable));
    const auto error = std::get<0>(wrote);
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (error) gone_ = true;
    co_return Result<void>{};
  }

  awaitable<Result<void>> feed() {
    auto told = co_await tell(errand_.request + "\n");
    if (!told || !errand_.archive) co_return told;
    auto sink = [this](std::string_view bytes) -> awaitable<Result<void>> {
      if (gone_) co_return fail(Errc::unavailable, "the child that pushes has ended");
      auto passed = co_await tell(bytes);
      co_return passed;
    };
    auto written = co_await errand_.archive(sink);
    into_.close();
    if (!written && gone_) co_return Result<void>{};
    co_return written;
  }

  awaitable<Result<Said>> listen() {
    Said said;
    std::string pending;
    std::array<char, 4096> chunk;
    while (true) {
      auto got = co_await from_.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
      auto& [error, bytes] = got;
      if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
      pending.append(chunk.data(), bytes);
      for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
        const auto line = pending.substr(0, end);
        pending.erase(0, end + 1);
        auto understood = co_await hear(line, said);
        if (!understood) {  // it is none of ours any more, and would wait for somebody to listen
          child_.signal(SIGKILL);
          co_return fail(std::move(understood.error()));
        }
      }
      if (pending.size() > said_line_bytes_max) {
        child_.signal(SIGKILL);
        co_return fail(Errc::corrupt, "the child that asks registries said a line without an end");
      }
      if (error) co_return said;
    }
  }

  awaitable<Result<void>> hear(const std::string& line, Said& said) {
    auto event = parse_fetch_event(line);
    if (!event) co_return fail(std::move(event.error()));
    if (auto* progress = std::get_if<FetchProgress>(&*event)) {
      if (errand_.on_line) errand_.on_line(progress->text);
    } else if (const auto* digest = std::get_if<FetchedDigest>(&*event)) {
      said.digests.push_back(digest->digest);
    } else if (const auto* image = std::get_if<FetchedImage>(&*event)) {
      said.image = image->manifest;
    } else if (auto* error = std::get_if<Error>(&*event)) {
      said.error = std::move(*error);
    } else if (const auto* question = std::get_if<FetchQuestion>(&*event); question && errand_.knows) {
      auto known = co_await errand_.knows(question->layer);
      if (!known) co_return fail(std::move(known.error()));
      const auto answer = *known ? std::to_string(**known) + "\n" : std::string("-\n");
      auto told = co_await tell(answer);
      co_return told;
    } else {
      co_return fail(Errc::corrupt, "the child that asks registries said what nobody asked for");
    }
    co_return Result<void>{};
  }

  ChildProcess& child_;
  Errand errand_;
  asio::posix::stream_descriptor into_;
  asio::posix::stream_descriptor from_;
  bool gone_ = false;
};

awaitable<Result<Said>> run_errand(Clock& clock, Duration limit, Errand errand, std::string what) {
  try {
    auto child = RegistryChild::run(std::move(errand));
    auto said = co_await with_deadline(clock, limit, std::move(child));
    co_return said;
  } catch (const DeadlineExceeded&) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit).count();
    co_return fail(Errc::timed_out, fmt::format("{} took longer than {} s: context deadline exceeded", what, seconds));
  }
}

std::string registry_word(const image::RegistryTarget& target) { return "registry " + target.reference.registry; }

}  // namespace

awaitable<Result<Digest>> resolve_image(Clock& clock, image::RegistryTarget target) {
  if (!target.reference.digest.empty()) co_return target.reference.digest;
  Errand errand{
      .arguments = {"registry-resolve"}, .request = to_wire(target), .knows = {}, .archive = {}, .on_line = {}};
  auto said = co_await run_errand(clock, resolve_limit, std::move(errand), registry_word(target));
  if (!said) co_return fail(std::move(said.error()));
  if (said->digests.size() != 1) co_return fail(Errc::internal, "the child that asks registries named no digest");
  co_return said->digests.front();
}

awaitable<Result<PulledImage>> pull_image(Clock& clock, image::RegistryTarget target, std::filesystem::path scratch,
                                          KnowsLayer knows, OnRegistryLine on_line) {
  Errand errand{.arguments = {"registry-pull", scratch},
                .request = to_wire(target),
                .knows = std::move(knows),
                .archive = {},
                .on_line = std::move(on_line)};
  auto said = co_await run_errand(clock, transfer_limit, std::move(errand), registry_word(target));
  if (!said) co_return fail(std::move(said.error()));
  if (!said->image || said->digests.empty())
    co_return fail(Errc::internal, "the child that asks registries named no image");
  co_return PulledImage{.manifest = *said->image, .known_as = std::move(said->digests)};
}

awaitable<Result<Digest>> push_image(Clock& clock, image::RegistryTarget target, std::filesystem::path scratch,
                                     std::string name, WriteArchive write, std::map<Digest, std::string> mounts,
                                     OnRegistryLine on_line) {
  boost::json::object places;
  for (const auto& [layer, repository] : mounts) places[layer.text()] = repository;
  Errand errand{.arguments = {"registry-push", scratch, std::move(name)},
                .request = to_wire(target) + "\n" + boost::json::serialize(places),
                .knows = {},
                .archive = std::move(write),
                .on_line = std::move(on_line)};
  auto said = co_await run_errand(clock, transfer_limit, std::move(errand), registry_word(target));
  if (!said) co_return fail(std::move(said.error()));
  if (said->digests.size() != 1) co_return fail(Errc::internal, "the child that asks registries named no digest");
  co_return said->digests.front();
}

}  // namespace wick::build
