// Source that a client brings along: streamed to a file that is named by what it holds.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/digest.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

constexpr std::uint64_t upload_bytes_max = 1ull << 30;
constexpr std::size_t chunk_bytes = 256 << 10;
constexpr std::uint64_t free_bytes_kept = 512ull << 20;  // an upload does not take the last of the disk
constexpr std::chrono::hours upload_age_max{24};         // builds start at once: what is older is no run's any more

/// A file that goes unless it was kept.
class Scratch {
 public:
  explicit Scratch(std::filesystem::path path) : path_(std::move(path)) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  const std::filesystem::path& path() const { return path_; }
  void kept() { path_.clear(); }

 private:
  std::filesystem::path path_;
};

void remove_old_uploads(const std::filesystem::path& folder) {
  std::error_code error;
  const auto oldest = std::filesystem::file_time_type::clock::now() - upload_age_max;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (const auto time = entry.last_write_time(error); !error && time < oldest)
      std::filesystem::remove(entry.path(), error);
}

awaitable<Result<Digest>> receive(const Doors& doors, http::Exchange& exchange, int file) {
  Sha256 hash;
  std::uint64_t total = 0;
  std::string chunk(chunk_bytes, '\0');
  while (true) {
    auto count = co_await exchange.read_full(chunk);
    if (!count) co_return fail(std::move(count.error()));
    if (*count == 0) break;
    total += *count;
    if (total > upload_bytes_max)
      co_return fail(Errc::too_large, fmt::format("an upload has at most {}", human_bytes(upload_bytes_max)),
                     "leave out what the build does not need: .dockerignore");
    auto store = [bytes = std::string_view(chunk).substr(0, *count), file, &hash] {
      hash.update(bytes);
      return write_all(file, bytes);
    };
    auto stored = co_await doors.workers.run(store);
    if (!stored) co_return fail(std::move(stored.error()));
  }
  if (total == 0) co_return fail(Errc::invalid, "the upload is empty", "send a tar of the source as the body");
  co_return hash.finish();
}

}  // namespace

Result<void> prepare_uploads(const std::filesystem::path& folder) {
  if (auto made = make_folders(folder, 0700); !made) return made;
  remove_old_uploads(folder);
  const auto free = free_bytes(folder);
  if (free && *free < free_bytes_kept)
    return fail(Errc::unavailable, fmt::format("only {} are free for uploads", human_bytes(*free)),
                "free some disk: wick image prune");
  return {};
}

awaitable<void> take_upload(const Doors& doors, http::Exchange& exchange) {
  auto prepare = [folder = doors.uploads] { return prepare_uploads(folder); };
  auto prepared = co_await doors.workers.run(prepare);
  if (!prepared) {
    co_await respond_error(exchange, prepared.error());
    co_return;
  }
  Scratch scratch(doors.uploads / ("partial-" + random_hex(8)));
  auto file = open_file(scratch.path(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  auto digest = file ? co_await receive(doors, exchange, file->get()) : Result<Digest>(fail(file.error()));
  if (!digest) {
    co_await respond_error(exchange, digest.error());
    co_return;
  }
  const auto name = digest->hex();
  const json::object about{{"commit", printable(exchange.head().fields.find("X-Wick-Commit").value_or(""), 64)},
                           {"dirty", exchange.head().fields.find("X-Wick-Dirty").value_or("") == "true"}};
  auto publish = [from = scratch.path(), to = doors.uploads / name, text = json::serialize(about)]() -> Result<void> {
    std::error_code error;
    std::filesystem::rename(from, to, error);
    if (error) return fail(Errc::io, "upload not kept: " + error.message());
    return write_file(to.string() + ".json", text, 0600);
  };
  auto published = co_await doors.workers.run(publish);
  if (!published) {
    co_await respond_error(exchange, published.error());
    co_return;
  }
  scratch.kept();
  co_await respond_json(exchange, 201, json::object{{"name", name}});
}

}  // namespace wick::api
