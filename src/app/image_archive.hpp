// An archive of images on its way to somebody: what the content store has is copied, what only the runner has is packed
// on the way, and either is hashed.
#pragma once

#include "app/images.hpp"
#include "wick/image/archive.hpp"

namespace wick::app {

class ImageArchive final : public api::Images::Archive {
 public:
  ImageArchive(const ImageDoors& doors, ImageUse::Use use, ImageUse::Use saving, std::vector<image::ArchiveFile> files)
      : doors_(doors),
        use_(std::move(use)),
        saving_(std::move(saving)),
        files_(std::move(files)),
        bytes_(image::archive_bytes(files_)) {}

  std::uint64_t bytes() const override { return bytes_; }
  awaitable<Result<void>> write(api::Images::Sink sink) override;

 private:
  awaitable<Result<void>> write_blob(const image::ArchiveFile& file, const api::Images::Sink& sink);

  const ImageDoors& doors_;
  ImageUse::Use use_;
  ImageUse::Use saving_;
  std::vector<image::ArchiveFile> files_;
  std::uint64_t bytes_;
};

}  // namespace wick::app
