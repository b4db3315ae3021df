// Uploads to a registry: files that grow. Who sends a blob in one piece has it hashed on the way; after a restart, or
// where the digest is of the other kind, the file is read once more at its end.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "registry_files.hpp"
#include "wick/base/text.hpp"
#include "wick/image/import.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t upload_id_bytes = 16;
constexpr std::size_t upload_owner_digits = 16;
constexpr std::size_t rehash_chunk_bytes = 256 << 10;
constexpr std::uint64_t upload_bytes_between_looks = 16 << 20;  // at the room on the disk

/// An upload is its repository's, and no other's: the id says whose.
std::string owner_of(std::string_view repository) {
  return Digest::of(canonical_repository(repository)).hex().substr(0, upload_owner_digits);
}

Error no_upload(std::string_view id) {
  return Error(Errc::not_found, fmt::format("there is no upload {}", printable(id)))
      .hint("it has ended, was cancelled, or had no byte for a day: begin a new one");
}

Error full_disk(std::string what, int error) {
  if (error != ENOSPC && error != EDQUOT) return system_error(what, error);
  return Error(Errc::unavailable, what + ": the disk is full")
      .hint("free some: wick image rm NAME, then wick image prune");
}

Result<std::uint64_t> file_bytes(const fs::path& path, std::string_view id) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) return static_cast<std::uint64_t>(status.st_size);
  if (errno == ENOENT) return fail(no_upload(id));
  return fail(system_error("look at " + path.string(), errno));
}

Result<void> hash_file(int file, BlobHash& hash) {
  std::string chunk(rehash_chunk_bytes, '\0');
  while (true) {
    const auto got = ::read(file, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read an upload", errno));
    if (got == 0) return {};
    hash.update(std::string_view(chunk).substr(0, static_cast<std::size_t>(got)));
  }
}

}  // namespace

Result<fs::path> RegistryStore::upload_path(std::string_view repository, std::string_view id) const {
  constexpr auto random_digits = 2 * upload_id_bytes;
  if (id.size() != random_digits + 1 + upload_owner_digits || id[random_digits] != '-' ||
      id.substr(0, random_digits).find_first_not_of("0123456789abcdef") != std::string_view::npos ||
      id.substr(random_digits + 1) != owner_of(repository))
    return fail(no_upload(id));
  return root_ / "uploads" / id;
}

void RegistryStore::remove_old_uploads(std::chrono::seconds age_max) const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root_ / "uploads", error)) {
    struct stat status{};
    if (::stat(entry.path().c_str(), &status) != 0) continue;
    if (status.st_mtim.tv_sec > std::time(nullptr) - age_max.count()) continue;
    const auto id = entry.path().filename().string();
    {
      const std::scoped_lock lock(uploads_mutex_);
      if (const auto found = uploads_.find(id); found != uploads_.end() && found->second.busy) continue;
    }
    ::unlink(entry.path().c_str());
  }
}

Result<std::string> RegistryStore::begin_upload(std::string_view repository, HashAlgorithm algorithm) {
  if (auto room = check_room(root_); !room) return fail(std::move(room.error()));
  remove_old_uploads(registry_upload_age_max);
  std::error_code error;
  const auto open = std::distance(fs::directory_iterator(root_ / "uploads", error), fs::directory_iterator());
  if (!error && static_cast<std::size_t>(open) >= registry_uploads_max)
    return fail(Errc::overloaded, fmt::format("{} uploads are open", open),
                "finish or cancel some; one without a byte for a day ends by itself");
  auto id = fmt::format("{}-{}", random_hex(upload_id_bytes), owner_of(repository));
  auto file = open_file(root_ / "uploads" / id, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail(std::move(file.error()));
  const std::scoped_lock lock(uploads_mutex_);
  uploads_[id].hash.emplace(algorithm);
  // Hashes of uploads that ended by age.
  std::erase_if(uploads_, [&](const auto& upload) {
    return !upload.second.busy && upload.first != id && !is_file(root_ / "uploads" / upload.first);
  });
  return id;
}

Result<std::uint64_t> RegistryStore::upload_size(std::string_view repository, std::string_view id) const {
  auto path = upload_path(repository, id);
  if (!path) return fail(std::move(path.error()));
  return file_bytes(*path, id);
}

/// From here on nobody else has it, until its `busy` is taken back.
Result<void> RegistryStore::take_upload(const std::string& id) {
  const std::scoped_lock lock(uploads_mutex_);
  auto& upload = uploads_[id];
  if (upload.busy)
    return fail(Errc::conflict, fmt::format("another request writes to the upload {}", id),
                "one after the other: ask where it stands when that has ended");
  upload.busy = true;
  return {};
}

void RegistryStore::Writing::Return::operator()(const std::string* id) const {
  const std::unique_ptr<const std::string> owned(id);
  const std::scoped_lock lock(store->uploads_mutex_);
  const auto found = store->uploads_.find(*id);
  if (found == store->uploads_.end()) return;
  if (is_file(store->root_ / "uploads" / *id))
    found->second.busy = false;
  else
    store->uploads_.erase(found);
}

RegistryStore::Writing::Writing(RegistryStore& store, std::string id, Fd file, std::uint64_t size,
                                std::optional<BlobHash> hash)
    : id_(new std::string(std::move(id)), Return{&store}),
      file_(std::move(file)),
      begin_(size),
      size_(size),
      hash_(std::move(hash)) {}

RegistryStore::Writing::~Writing() {
  if (!id_) return;
  auto* store = id_.get_deleter().store;
  const std::scoped_lock lock(store->uploads_mutex_);
  auto& upload = store->uploads_[*id_];
  upload.hash = std::move(hash_);
  upload.hashed = size_;
}

Result<RegistryStore::Writing> RegistryStore::write_upload(std::string_view repository, std::string_view id) {
  auto path = upload_path(repository, id);
  if (!path) return fail(std::move(path.error()));
  const std::string name(id);
  if (auto taken = take_upload(name); !taken) return fail(std::move(taken.error()));
  Writing writing(*this, name, Fd(), 0, std::nullopt);
  writing.file_.reset(::open(path->c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!writing.file_) return fail(errno == ENOENT ? no_upload(id) : system_error("open " + path->string(), errno));
  auto size = file_bytes(*path, id);
  if (!size) return fail(std::move(size.error()));
  writing.begin_ = writing.size_ = *size;
  const std::scoped_lock lock(uploads_mutex_);
  auto& upload = uploads_[name];
  if (upload.hash && upload.hashed == *size) writing.hash_ = std::move(upload.hash);
  return writing;
}

Result<void> RegistryStore::Writing::write(std::string_view bytes) {
  if (until_look_ == 0) {
    if (auto room = check_room(id_.get_deleter().store->root_); !room) return room;
    until_look_ = upload_bytes_between_looks;
  }
  until_look_ -= std::min<std::uint64_t>(until_look_, bytes.size());
  while (!bytes.empty()) {
    const auto written = ::write(file_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(full_disk("write the upload", errno));
    const auto count = static_cast<std::size_t>(written);
    if (hash_) hash_->update(bytes.substr(0, count));
    size_ += count;
    bytes.remove_prefix(count);
  }
  return {};
}

void RegistryStore::Writing::take_back() {
  if (size_ == begin_ || ::ftruncate(file_.get(), static_cast<off_t>(begin_)) != 0) return;
  size_ = begin_;
  hash_.reset();
}

Result<void> RegistryStore::finish_upload(std::string_view repository, std::string_view id,
                                          const BlobDigest& expected) {
  auto path = upload_path(repository, id);
  if (!path) return fail(std::move(path.error()));
  auto writing = write_upload(repository, id);  // nobody else writes any more
  if (!writing) return fail(std::move(writing.error()));
  auto hash = std::move(writing->hash_);
  writing->hash_.reset();
  if (!hash || hash->algorithm() != expected.algorithm()) {
    hash.emplace(expected.algorithm());
    auto file = open_file(*path, O_RDONLY);
    if (!file) return fail(std::move(file.error()));
    if (auto hashed = hash_file(file->get(), *hash); !hashed) return hashed;
  }
  const auto found = hash->finish();
  auto published = found == expected
                       ? publish(repository, expected, *path)
                       : fail(Errc::invalid, fmt::format("the blob hashes to {}, not to {}; it was thrown away",
                                                         found.text(), expected.text()));
  if (!published) ::unlink(path->c_str());
  return published;
}

Result<void> RegistryStore::cancel_upload(std::string_view repository, std::string_view id) {
  auto path = upload_path(repository, id);
  if (!path) return fail(std::move(path.error()));
  auto writing = write_upload(repository, id);
  if (!writing) return fail(std::move(writing.error()));
  if (::unlink(path->c_str()) != 0) return fail(system_error("remove " + path->string(), errno));
  return {};
}

}  // namespace wick::image
