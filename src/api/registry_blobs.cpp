// Blobs of the registry, down and up.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "api/registry.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/image/reference.hpp"

namespace wick::api {

namespace {

using image::RegistryCode;
using image::RegistryFailure;

constexpr std::size_t blob_chunk_bytes = 256 << 10;

RegistryFailure blob_failure(const Error& error) {
  return image::registry_failure(error, RegistryCode::digest_invalid, RegistryCode::blob_unknown);
}
RegistryFailure upload_failure(const Error& error) {
  return image::registry_failure(error, RegistryCode::digest_invalid, RegistryCode::blob_upload_unknown);
}

std::string upload_place(const std::string& repository, const std::string& id) {
  return fmt::format("/v2/{}/blobs/uploads/{}", repository, id);
}

/// What is there of an upload: an empty one has no last byte, and says 0-0 as well.
http::Fields upload_fields(const std::string& repository, const std::string& id, std::uint64_t size) {
  http::Fields fields;
  fields.set("Location", upload_place(repository, id));
  fields.set("Range", fmt::format("0-{}", size == 0 ? 0 : size - 1));
  fields.set("Docker-Upload-UUID", id);
  return fields;
}

http::ResponseHead upload_head(int status, const std::string& repository, const std::string& id, std::uint64_t size) {
  auto head = registry_head(status);
  for (const auto& field : upload_fields(repository, id, size)) head.fields.set(field.name, field.value);
  return head;
}

Result<std::size_t> read_at(int file, std::span<char> into, std::uint64_t at) {
  while (true) {
    const auto got = ::pread(file, into.data(), into.size(), static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read a blob", errno));
    if (got == 0) return fail(Errc::io, "a blob ended early");
    return static_cast<std::size_t>(got);
  }
}

}  // namespace

awaitable<void> Registry::get_blob(http::Exchange& exchange, const Request& request) {
  auto find = [this, &request] { return store_.blob(request.repository, *request.digest); };
  auto blob = co_await doors_.workers.run(find);
  const auto layer = request.digest->sha256();
  if (blob && !blob->file && layer && exchange.head().method == "GET") {
    auto made = co_await doors_.images.make_layer(request.repository, *layer);
    if (!made) co_return co_await respond_registry_failure(exchange, blob_failure(made.error()));
    blob = co_await doors_.workers.run(find);
  }
  if (!blob) co_return co_await respond_registry_failure(exchange, blob_failure(blob.error()));
  co_await send_blob(exchange, request, std::move(*blob));
}

awaitable<void> Registry::send_blob(http::Exchange& exchange, const Request& request, image::RegistryStore::Blob blob) {
  const auto& fields = exchange.head().fields;
  const bool whole = exchange.head().method == "HEAD";
  const auto tag = fmt::format("\"{}\"", request.digest->text());
  const auto wanted = fields.find("Range");
  std::optional<image::ByteRange> part;
  if (!whole && wanted && fields.find("If-Range").value_or(tag) == tag) {
    auto range = image::parse_range(*wanted, blob.size);
    if (!range) {
      http::Fields all{{"Content-Range", fmt::format("bytes */{}", blob.size)}};
      RegistryFailure failure(RegistryCode::size_invalid, range.error().message(), 416);
      co_return co_await respond_registry_failure(exchange, std::move(failure), std::move(all));
    }
    part = *range;
  }
  auto head = registry_head(part ? 206 : 200);
  head.fields.set("Content-Type", "application/octet-stream");
  head.fields.set("Docker-Content-Digest", request.digest->text());
  head.fields.set("ETag", tag);
  head.fields.set("Accept-Ranges", "bytes");
  head.fields.set("Content-Length", std::to_string(part ? part->size() : blob.size));
  if (part) head.fields.set("Content-Range", fmt::format("bytes {}-{}/{}", part->first, part->last, blob.size));
  auto started = co_await exchange.start(std::move(head));
  if (!started) co_return;
  auto at = part ? part->first : 0;
  const auto end = whole ? 0 : part ? part->last + 1 : blob.size;
  std::string chunk(std::min<std::uint64_t>(blob_chunk_bytes, end > at ? end - at : 0), '\0');
  while (at < end) {
    auto read = [&] {
      return read_at(blob.file.get(), std::span(chunk).first(std::min<std::uint64_t>(chunk.size(), end - at)), at);
    };
    auto got = co_await doors_.workers.run(std::move(read));
    if (!got) {  // what is short of its Content-Length was cut, and the client can tell
      log::warn("a blob was not sent whole", {{"blob", request.digest->text()}, {"error", got.error().what()}});
      co_return;
    }
    auto written = co_await exchange.write(std::string_view(chunk).substr(0, *got));
    if (!written) co_return;
    at += *got;
  }
  co_await exchange.finish();
}

awaitable<void> Registry::delete_blob(http::Exchange& exchange, const Request& request) {
  auto remove = [this, &request] { return store_.remove_blob(request.repository, *request.digest); };
  auto removed = co_await doors_.workers.run(std::move(remove));
  if (!removed) co_return co_await respond_registry_failure(exchange, blob_failure(removed.error()));
  co_await exchange.respond(registry_head(202));
}

awaitable<void> Registry::answer_upload(http::Exchange& exchange, const Request& request) {
  const auto& method = exchange.head().method;
  const bool is_new = request.kind == Request::Kind::uploads;
  if (is_new && method == "POST") co_return co_await begin_upload(exchange, request);
  if (!is_new && method == "GET") co_return co_await show_upload(exchange, request);
  if (!is_new && method == "PATCH") co_return co_await append_upload(exchange, request);
  if (!is_new && method == "PUT") co_return co_await finish_upload(exchange, request);
  if (!is_new && method == "DELETE") co_return co_await cancel_upload(exchange, request);
  RegistryFailure failure(RegistryCode::unsupported, fmt::format("there is no {} of an upload", printable(method)));
  co_await respond_registry_failure(exchange, std::move(failure));
}

/// Where the disk is nearly full, what nothing needs goes first.
awaitable<Result<std::string>> Registry::new_upload(const Request& request, image::HashAlgorithm algorithm) {
  auto begin = [this, &request, algorithm] { return store_.begin_upload(request.repository, algorithm); };
  auto id = co_await doors_.workers.run(begin);
  if (!id && id.error().code() == Errc::unavailable) {
    auto freed = co_await doors_.images.collect();
    if (freed && freed->bytes > 0) id = co_await doors_.workers.run(begin);
  }
  co_return id;
}

awaitable<void> Registry::uploaded(http::Exchange& exchange, const Request& request, const image::BlobDigest& digest) {
  auto head = registry_head(201);
  head.fields.set("Location", fmt::format("/v2/{}/blobs/{}", request.repository, digest.text()));
  head.fields.set("Docker-Content-Digest", digest.text());
  co_await exchange.respond(std::move(head));
}

awaitable<void> Registry::discard(const Request& request, const std::string& id) {
  auto cancel = [this, &request, &id] { return store_.cancel_upload(request.repository, id); };
  auto cancelled = co_await doors_.workers.run(std::move(cancel));
  if (!cancelled && cancelled.error().code() != Errc::not_found)
    log::warn("an upload stays", {{"upload", id}, {"error", cancelled.error().what()}});
}

awaitable<void> Registry::begin_upload(http::Exchange& exchange, const Request& request) {
  const auto query = exchange.head().query();
  const auto named = [&](const char* name) -> Result<std::optional<image::BlobDigest>> {
    const auto text = http::query_value(query, name);
    if (!text) return std::nullopt;
    auto digest = image::BlobDigest::parse(*text);
    if (!digest) return fail(std::move(digest.error()));
    return std::move(*digest);
  };
  auto mount = named("mount");
  auto digest = named("digest");
  const auto kind = image::parse_algorithm(http::query_value(query, "digest-algorithm").value_or("sha256"));
  if (!mount || !digest || !kind) {
    const auto& error = !mount ? mount.error() : !digest ? digest.error() : kind.error();
    co_return co_await respond_registry_failure(exchange, blob_failure(error));
  }
  if (*mount) {
    const auto from = http::query_value(query, "from").value_or("");
    auto share = [&]() -> Result<void> {
      if (!from.empty() && !image::is_repository_name(from)) return fail(Errc::not_found, "no repository is called so");
      return store_.mount(request.repository, from, **mount);
    };
    auto mounted = co_await doors_.workers.run(std::move(share));
    if (mounted) co_return co_await uploaded(exchange, request, **mount);
    if (mounted.error().code() != Errc::not_found)
      co_return co_await respond_registry_failure(exchange, blob_failure(mounted.error()));
  }
  auto id = co_await new_upload(request, *digest ? (*digest)->algorithm() : *kind);
  if (!id) co_return co_await respond_registry_failure(exchange, upload_failure(id.error()));
  if (!*digest) {
    co_await exchange.respond(upload_head(202, request.repository, *id, 0));
    co_return;
  }
  std::uint64_t size = 0;
  auto refusal = co_await receive(exchange, request, *id, size);
  if (!refusal) {
    auto finish = [&] { return store_.finish_upload(request.repository, *id, **digest); };
    auto finished = co_await doors_.workers.run(std::move(finish));
    if (finished) co_return co_await uploaded(exchange, request, **digest);
    refusal = Refusal{.failure = upload_failure(finished.error()), .fields = {}};
  }
  co_await discard(request, *id);
  co_await respond_registry_failure(exchange, std::move(refusal->failure), std::move(refusal->fields));
}

awaitable<void> Registry::show_upload(http::Exchange& exchange, const Request& request) {
  auto look = [this, &request] { return store_.upload_size(request.repository, request.upload); };
  auto size = co_await doors_.workers.run(std::move(look));
  if (!size) co_return co_await respond_registry_failure(exchange, upload_failure(size.error()));
  co_await exchange.respond(upload_head(204, request.repository, request.upload, *size));
}

awaitable<std::optional<Registry::Refusal>> Registry::receive(http::Exchange& exchange, const Request& request,
                                                              const std::string& id, std::uint64_t& size) {
  const auto refuse = [](RegistryFailure failure, http::Fields fields = {}) {
    return Refusal{.failure = std::move(failure), .fields = std::move(fields)};
  };
  auto open = [this, &request, &id] { return store_.write_upload(request.repository, id); };
  auto writing = co_await doors_.workers.run(std::move(open));
  if (!writing) co_return refuse(upload_failure(writing.error()));
  const auto& fields = exchange.head().fields;
  const auto field = fields.find("Content-Range");
  const auto chunk_range = field ? image::parse_chunk_range(*field) : std::nullopt;
  const auto begin = writing->size();
  size = begin;
  if (field && (!chunk_range || chunk_range->first != begin))
    co_return refuse({RegistryCode::blob_upload_invalid,
                      fmt::format("the next byte is number {}, the chunk is '{}'", begin, printable(*field)), 416},
                     upload_fields(request.repository, id, begin));
  const auto wrong_size = [&](std::uint64_t bytes) {
    return RegistryFailure(RegistryCode::size_invalid,
                           fmt::format("the chunk '{}' has {} bytes", printable(*field), bytes));
  };
  const auto length = fields.find("Content-Length");
  const auto announced = length ? parse_unsigned(*length) : std::nullopt;
  if (chunk_range && announced && *announced != chunk_range->size()) co_return refuse(wrong_size(*announced));
  std::string chunk(std::min<std::uint64_t>(blob_chunk_bytes, announced.value_or(blob_chunk_bytes)) + 1, '\0');
  while (true) {
    auto got = co_await exchange.read_full(chunk);
    if (!got) co_return refuse(upload_failure(got.error()));  // what came stays: the client may go on there
    if (*got == 0) break;
    auto write = [&] { return writing->write(std::string_view(chunk).substr(0, *got)); };
    auto written = co_await doors_.workers.run(std::move(write));
    if (!written) {
      {
        const auto closed = std::move(*writing);
      }
      co_await discard(request, id);
      co_return refuse(upload_failure(written.error()));
    }
  }
  if (chunk_range && writing->size() - begin != chunk_range->size()) {
    const auto bytes = writing->size() - begin;
    writing->take_back();
    co_return refuse(wrong_size(bytes));
  }
  size = writing->size();
  co_return std::nullopt;
}

awaitable<void> Registry::append_upload(http::Exchange& exchange, const Request& request) {
  std::uint64_t size = 0;
  auto refusal = co_await receive(exchange, request, request.upload, size);
  if (refusal)
    co_return co_await respond_registry_failure(exchange, std::move(refusal->failure), std::move(refusal->fields));
  co_await exchange.respond(upload_head(202, request.repository, request.upload, size));
}

awaitable<void> Registry::finish_upload(http::Exchange& exchange, const Request& request) {
  auto digest = image::BlobDigest::parse(http::query_value(exchange.head().query(), "digest").value_or(""));
  if (!digest) co_return co_await respond_registry_failure(exchange, upload_failure(digest.error()));
  std::uint64_t size = 0;
  auto refusal = co_await receive(exchange, request, request.upload, size);
  if (refusal)
    co_return co_await respond_registry_failure(exchange, std::move(refusal->failure), std::move(refusal->fields));
  auto finish = [&] { return store_.finish_upload(request.repository, request.upload, *digest); };
  auto finished = co_await doors_.workers.run(std::move(finish));
  if (!finished) co_return co_await respond_registry_failure(exchange, upload_failure(finished.error()));
  co_await uploaded(exchange, request, *digest);
}

awaitable<void> Registry::cancel_upload(http::Exchange& exchange, const Request& request) {
  auto cancel = [this, &request] { return store_.cancel_upload(request.repository, request.upload); };
  auto cancelled = co_await doors_.workers.run(std::move(cancel));
  if (!cancelled) co_return co_await respond_registry_failure(exchange, upload_failure(cancelled.error()));
  co_await exchange.respond(registry_head(204));
}

}  // namespace wick::api
