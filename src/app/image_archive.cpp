#include "app/image_archive.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "wick/os/child_process.hpp"
#include "wick/os/together.hpp"

namespace wick::app {

namespace {

constexpr std::size_t chunk_bytes = 256 << 10;
constexpr int pipe_bytes = 1 << 20;

Error damaged(const image::ArchiveFile& file) {
  return Error(Errc::corrupt, fmt::format("the layer or config {} is not what its name says", file.blob.text()))
      .hint("the disk or somebody changed it: build or load the image again");
}

/// Gives exactly the bytes that `file` says, or fails before the last of them.
class CheckedCopy {
 public:
  CheckedCopy(const image::ArchiveFile& file, const api::Images::Sink& sink) : file_(file), sink_(sink) {}

  /// One read on a worker, then on to the sink. 0: the end, and everything was right.
  awaitable<Result<std::size_t>> step(WorkerPool& workers, int from) {
    auto read = [this, from]() -> Result<std::size_t> {
      while (true) {
        const auto got = ::read(from, chunk_.data(), chunk_.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(system_error("read " + file_.name, errno));
        hash_.update(std::string_view(chunk_).substr(0, static_cast<std::size_t>(got)));
        return static_cast<std::size_t>(got);
      }
    };
    auto got = co_await workers.run(std::move(read));
    if (!got) co_return got;
    given_ += *got;
    if (*got == 0 ? given_ != file_.size : given_ > file_.size) co_return fail(damaged(file_));
    if (*got == 0) co_return std::size_t{0};
    if (given_ == file_.size && hash_.finish() != file_.blob) co_return fail(damaged(file_));
    auto taken = co_await sink_(std::string_view(chunk_).substr(0, *got));
    if (!taken) co_return fail(std::move(taken.error()));
    co_return *got;
  }

 private:
  const image::ArchiveFile& file_;
  const api::Images::Sink& sink_;
  Sha256 hash_;
  std::uint64_t given_ = 0;
  std::string chunk_ = std::string(chunk_bytes, '\0');
};

awaitable<Result<void>> copy_stored(WorkerPool& workers, Fd from, const image::ArchiveFile& file,
                                    const api::Images::Sink& sink) {
  CheckedCopy copy(file, sink);
  while (true) {
    auto got = co_await copy.step(workers, from.get());
    if (!got) co_return fail(std::move(got.error()));
    if (*got == 0) co_return Result<void>{};
  }
}

/// Ends with the last writer. An error closes the pipe, which ends the writer.
awaitable<Result<void>> copy_packed(WorkerPool& workers, Fd pipe, const image::ArchiveFile& file,
                                    const api::Images::Sink& sink) {
  asio::posix::stream_descriptor from(co_await asio::this_coro::executor, pipe.release());
  CheckedCopy copy(file, sink);
  while (true) {
    // Waiting for the packer costs no worker.
    co_await from.async_wait(asio::posix::stream_descriptor::wait_read, use_awaitable);
    auto got = co_await copy.step(workers, from.native_handle());
    if (!got) co_return fail(std::move(got.error()));
    if (*got == 0) co_return Result<void>{};
  }
}

}  // namespace

awaitable<Result<void>> ImageArchive::write_blob(const image::ArchiveFile& file, const api::Images::Sink& sink) {
  auto open = [this, &file] { return doors_.store.open_blob(file.blob); };
  auto stored = co_await doors_.workers.run(std::move(open));
  if (stored) co_return co_await copy_stored(doors_.workers, std::move(*stored), file, sink);
  if (stored.error().code() != Errc::not_found) co_return fail(std::move(stored.error()));
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  ::fcntl(pipe->second.get(), F_SETPIPE_SZ, pipe_bytes);
  auto copying = copy_packed(doors_.workers, std::move(pipe->first), file, sink);
  auto packing = doors_.runner.pack_layer(file.blob, std::move(pipe->second));
  auto done = co_await both(std::move(copying), std::move(packing));
  auto& [copied, packed] = done;
  // A short layer is the packer's failure, a packer that found its pipe closed is the copy's.
  if (!copied && (packed || copied.error().code() != Errc::corrupt)) co_return copied;
  co_return std::move(packed);
}

awaitable<Result<void>> ImageArchive::write(api::Images::Sink sink) {
  for (const auto& file : files_) {
    auto head = image::archive_header(file) + file.bytes;
    if (file.blob.empty()) head += image::archive_padding(file.size);
    auto given = co_await sink(head);
    if (!given || file.blob.empty()) {
      if (!given) co_return given;
      continue;
    }
    auto written = co_await write_blob(file, sink);
    if (!written) co_return fail(std::move(written.error()).within(file.name));
    const auto padding = image::archive_padding(file.size);
    if (padding.empty()) continue;
    given = co_await sink(padding);
    if (!given) co_return given;
  }
  const auto end = image::archive_end();
  auto given = co_await sink(end);
  co_return given;
}

}  // namespace wick::app
