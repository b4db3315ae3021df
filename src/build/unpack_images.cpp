#include "wick/build/unpack_images.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/write.hpp>

#include "fetch_events.hpp"
#include "wick/base/text.hpp"
#include "wick/image/import.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/together.hpp"

namespace wick::build {

namespace {

constexpr std::size_t archive_chunk_bytes = 256 << 10;
constexpr std::size_t chunks_between_looks = 64;  // at the room on the disk: every 16 MiB
constexpr std::size_t said_bytes_max = 1 << 20;   // a line for each name

/// Everything from `read` to the child's standard input. A child that has enough says why on its output.
awaitable<Result<void>> feed(ChildProcess& child, Fd pipe, const ReadArchive& read,
                             const std::filesystem::path& scratch) {
  asio::posix::stream_descriptor into(co_await asio::this_coro::executor, pipe.release());
  std::string chunk(archive_chunk_bytes, '\0');
  for (std::size_t chunks = 0;; ++chunks) {
    auto got = co_await read(chunk);
    if (got && chunks % chunks_between_looks == 0)
      if (auto room = image::check_room(scratch); !room) got = fail(std::move(room.error()));
    if (!got) {
      child.signal(SIGKILL);
      co_return fail(std::move(got.error()));
    }
    if (*got == 0) co_return Result<void>{};
    auto wrote = co_await asio::async_write(into, asio::buffer(chunk.data(), *got), asio::as_tuple(use_awaitable));
    if (const auto& error = std::get<0>(wrote); error == asio::error::operation_aborted)
      throw boost::system::system_error(error);
    else if (error)
      co_return Result<void>{};
  }
}

awaitable<std::string> listen_to(Fd pipe) {
  asio::posix::stream_descriptor from(co_await asio::this_coro::executor, pipe.release());
  std::string said;
  std::array<char, 4096> chunk;
  while (true) {
    auto got = co_await from.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    if (said.size() < said_bytes_max) said.append(chunk.data(), bytes);
    if (error) co_return said;
  }
}

Result<std::vector<UnpackedImage>> understood(std::string_view said, const ExitStatus& status) {
  std::vector<UnpackedImage> images;
  for (const auto line : split(said, '\n')) {
    if (line.empty()) continue;
    auto event = parse_fetch_event(line);
    if (!event) return fail(std::move(event.error()));
    if (auto* error = std::get_if<Error>(&*event)) return fail(std::move(*error));
    if (auto* image = std::get_if<FetchedImage>(&*event))
      images.push_back({.manifest = image->manifest, .name = std::move(image->name)});
  }
  if (!status.ok()) return fail(Errc::invalid, fmt::format("the archive cannot be read: {}", status.text()));
  return images;
}

}  // namespace

awaitable<Result<std::vector<UnpackedImage>>> unpack_images(ReadArchive read, std::filesystem::path scratch,
                                                            std::string name) {
  auto input = make_pipe();
  if (!input) co_return fail(std::move(input.error()));
  auto output = make_pipe();
  if (!output) co_return fail(std::move(output.error()));
  ProcessOptions options{.argv = {"/proc/self/exe", "helper", "fetch", "images", scratch, std::move(name)},
                         .environment = std::vector<std::string>{"PATH=/usr/bin:/bin", "LC_ALL=C"},
                         .stdin_fd = input->first.get(),
                         .stdout_fd = output->second.get(),
                         .stderr_fd = STDERR_FILENO};
  auto child = ChildProcess::spawn(co_await asio::this_coro::executor, options);
  if (!child) co_return fail(std::move(child.error()));
  input->first.reset();
  output->second.reset();
  auto feeding = feed(*child, std::move(input->second), read, scratch);
  auto listening = listen_to(std::move(output->first));
  auto done = co_await both(std::move(feeding), std::move(listening));
  auto& [fed, said] = done;
  const auto status = co_await child->wait();
  if (!fed) co_return fail(std::move(fed.error()));
  co_return understood(said, status);
}

}  // namespace wick::build
