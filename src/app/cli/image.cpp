// `wick image`: what is on the daemon's machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cstdio>
#include <filesystem>
#include <istream>
#include <memory>

#include "app/cli/verbs.hpp"
#include "app/cli/zstd_writer.hpp"
#include "wick/base/text.hpp"
#include "wick/image/docker_config.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t short_digest_size = 19;  // "sha256:" and twelve digits, as docker shows them

std::string images_path(const std::string& name = {}) {
  const std::string collection = "/apis/wick.dev/v1/images";
  return name.empty() ? collection : collection + "/" + http::percent_encode(name);
}

class ArchiveFile final : public ByteSource {
 public:
  explicit ArchiveFile(Fd file) : file_(std::move(file)) {}
  Result<std::size_t> read(std::span<char> into) override {
    while (true) {
      const auto got = ::read(file_.get(), into.data(), into.size());
      if (got >= 0) return static_cast<std::size_t>(got);
      if (errno != EINTR) return fail(system_error("read the archive", errno));
    }
  }

 private:
  Fd file_;
};

/// What standard input gives.
class ArchiveStream final : public ByteSource {
 public:
  explicit ArchiveStream(std::istream& in) : in_(in) {}
  Result<std::size_t> read(std::span<char> into) override {
    in_.read(into.data(), static_cast<std::streamsize>(into.size()));
    return static_cast<std::size_t>(in_.gcount());
  }

 private:
  std::istream& in_;
};

/// A file that has its name once it is whole: until then it stands beside it, and goes when it was not finished.
class NewFile {
 public:
  static Result<NewFile> open(const fs::path& path) {
    auto beside = path;
    beside += ".partial-" + random_hex(4);
    auto file = open_file(beside, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (!file) return fail(std::move(file.error()));
    return NewFile(path, std::move(beside), std::move(*file));
  }
  NewFile(NewFile&&) = default;
  ~NewFile() {
    if (file_) ::unlink(beside_.c_str());
  }

  Result<void> write(std::string_view bytes) { return write_all(file_.get(), bytes); }
  Result<void> keep() {
    if (::rename(beside_.c_str(), path_.c_str()) != 0) return fail(system_error("rename to " + path_.string(), errno));
    file_.reset();
    return {};
  }

 private:
  NewFile(fs::path path, fs::path beside, Fd file)
      : path_(std::move(path)), beside_(std::move(beside)), file_(std::move(file)) {}
  fs::path path_;
  fs::path beside_;
  Fd file_;
};

using Sink = std::function<Result<void>(std::string_view)>;

Outcome<void> download(Session& session, const std::string& target, bool compress, Sink sink) {
  if (!compress) return session.client.download(target, sink);
  ZstdWriter writer(std::move(sink));
  auto saved = session.client.download(target, [&](std::string_view bytes) { return writer.write(bytes); });
  if (!saved) return saved;
  if (auto finished = writer.finish(); !finished) return stop_with(problem_of(finished.error()));
  return {};
}

Outcome<void> save_to_file(Session& session, const std::string& target, const SaveOptions& options) {
  std::error_code none;
  // A pipe or a device is written as it is.
  const bool replaced = !fs::exists(options.file, none) || fs::is_regular_file(options.file, none);
  if (!replaced) {
    auto file = open_file(options.file, O_WRONLY);
    if (!file) return stop_with(problem_of(file.error()));
    return download(session, target, options.compress,
                    [&](std::string_view bytes) { return write_all(file->get(), bytes); });
  }
  auto file = NewFile::open(options.file);
  if (!file) return stop_with(problem_of(file.error()));
  auto saved = download(session, target, options.compress, [&](std::string_view bytes) { return file->write(bytes); });
  if (!saved) return saved;
  if (auto kept = file->keep(); !kept) return stop_with(problem_of(kept.error()));
  return {};
}

Outcome<void> save_to_stdout(Session& session, const std::string& target, const SaveOptions& options) {
  if (session.terminal.out_is_terminal())
    return stop_with(usage_problem("an archive is nothing for a terminal", "wick image save NAME -o FILE, or a pipe"));
  return download(session, target, options.compress, [&](std::string_view bytes) -> Result<void> {
    if (!session.terminal.result_bytes(bytes)) return fail(Errc::io, "nobody reads the archive any more");
    return {};
  });
}

class TextSource final : public ByteSource {
 public:
  explicit TextSource(std::string text) : text_(std::move(text)) {}
  Result<std::size_t> read(std::span<char> into) override {
    const auto count = text_.copy(into.data(), into.size(), at_);
    at_ += count;
    return count;
  }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

/// A config.json with what the user has for this registry, and nothing else of theirs.
Outcome<std::string> credentials_for(const std::string& name) {
  auto reference = image::parse_reference(name);
  if (!reference) return stop_with(problem_of(reference.error()));
  auto found = image::find_credentials(*reference, {}, image::own_docker_config());
  if (!found) return stop_with(problem_of(found.error()));
  if (found->empty()) return std::string();
  json::object entry{{"username", found->username}, {"password", found->password}};
  if (!found->identity_token.empty()) entry = {{"identitytoken", found->identity_token}};
  return json::serialize(json::object{{"auths", {{reference->registry, std::move(entry)}}}});
}

}  // namespace

Outcome<void> pull_images(Session& session, const std::vector<std::string>& names) {
  json::array all;
  for (const auto& name : names) {
    auto credentials = credentials_for(name);
    if (!credentials) return stop_with(std::move(credentials.error()).within(fmt::format("{} was not pulled", name)));
    TextSource body(std::move(*credentials));
    // As long as it takes: a big image comes for minutes.
    auto pulled = session.client.upload("/apis/wick.dev/v1/imagepull?name=" + http::percent_encode(name), {}, body);
    if (!pulled) return stop_with(std::move(pulled.error()).within(fmt::format("{} was not pulled", name)));
    if (!session.json)
      session.terminal.result(fmt::format("{} {}", text_at(*pulled, "/name"), text_at(*pulled, "/digest")));
    all.push_back(std::move(*pulled));
  }
  if (session.json) print_document(session, all);
  return {};
}

Outcome<void> push_image(Session& session, const PushOptions& options) {
  const auto to = options.to.empty() ? options.name : options.to;
  const auto not_pushed = fmt::format("{} was not pushed", options.name);
  auto credentials = credentials_for(to);
  if (!credentials) return stop_with(std::move(credentials.error()).within(not_pushed));
  TextSource body(std::move(*credentials));
  auto pushed = session.client.upload(fmt::format("/apis/wick.dev/v1/imagepush?name={}&to={}",
                                                  http::percent_encode(options.name), http::percent_encode(to)),
                                      {}, body);
  if (!pushed) return stop_with(std::move(pushed.error()).within(not_pushed));
  if (session.json) {
    print_document(session, *pushed);
    return {};
  }
  session.terminal.result(fmt::format("{} {}", to, text_at(*pushed, "/digest")));
  return {};
}

Outcome<void> list_images(Session& session) {
  auto images = session.client.get(images_path());
  if (!images) return stop_with(std::move(images.error()));
  if (session.json) {
    print_document(session, *images);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"IMAGE", "DIGEST", "SIZE", "LAYERS"}};
  for (const auto& image : array_at(*images, "")) {
    const bool broken = !text_at(image, "/broken").empty();
    rows.push_back({text_at(image, "/name"), text_at(image, "/digest").substr(0, short_digest_size),
                    broken ? "broken" : human_bytes(static_cast<std::uint64_t>(number_at(image, "/bytes"))),
                    broken ? "" : std::to_string(number_at(image, "/layers"))});
  }
  if (rows.size() == 1)
    session.terminal.say("no images yet. hint: wick build, wick image pull NAME, or wick image load FILE");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> inspect_image(Session& session, const std::string& name) {
  auto image = session.client.get(images_path(name));
  if (!image) return stop_with(std::move(image.error()));
  print_document(session, *image);
  return {};
}

Outcome<void> remove_images(Session& session, const std::vector<std::string>& names) {
  // All of them are looked up first: a mistyped name removes nothing.
  for (const auto& name : names)
    if (auto image = session.client.get(images_path(name)); !image)
      return stop_with(std::move(image.error()).within(fmt::format("{} was not removed", name)));
  json::array removed;
  for (const auto& name : names) {
    if (auto gone = session.client.remove(images_path(name)); !gone)
      return stop_with(std::move(gone.error()).within(fmt::format("{} was not removed", name)));
    if (!session.json) session.terminal.result(fmt::format("{} removed", name));
    removed.push_back({{"name", name}, {"removed", true}});
  }
  if (session.json) print_document(session, removed);
  return {};
}

Outcome<void> load_images(Session& session, const LoadOptions& options) {
  const auto not_loaded = fmt::format("{} was not loaded", options.file == "-" ? "the archive" : options.file);
  auto target = images_path();
  if (!options.name.empty()) target += "?name=" + http::percent_encode(options.name);
  std::unique_ptr<ByteSource> bytes = std::make_unique<ArchiveStream>(session.terminal.in());
  if (options.file == "-" && session.terminal.can_ask())
    return stop_with(usage_problem("no archive comes from a terminal", "wick image load FILE, or a pipe"));
  if (options.file != "-") {
    auto opened = open_file(options.file, O_RDONLY);
    if (!opened) return stop_with(problem_of(opened.error()).within(not_loaded));
    bytes = std::make_unique<ArchiveFile>(std::move(*opened));
  }
  auto loaded = session.client.upload(target, {}, *bytes);
  if (!loaded) return stop_with(std::move(loaded.error()).within(not_loaded));
  if (session.json) {
    print_document(session, *loaded);
    return {};
  }
  for (const auto& image : array_at(*loaded, ""))
    session.terminal.result(fmt::format("{} {}", text_at(image, "/name"), text_at(image, "/digest")));
  return {};
}

Outcome<void> prune_images(Session& session, const PruneOptions& options) {
  if (!options.yes) {
    session.terminal.say(
        "everything that no image name and no revision needs will be removed, and with it what builds keep for the "
        "next one");
    if (!session.terminal.can_ask())
      return stop_with(usage_problem("nothing was removed: there is no terminal to ask on", "wick image prune --yes"));
    if (!session.terminal.confirm("Remove?"))
      return stop_with({.exit = ExitCode::failed,
                        .what = "nothing was removed",
                        .slug = "E_DECLINED",
                        .because = "the answer was not yes",
                        .hint = "--yes does not ask"});
  }
  auto freed = session.client.post("/apis/wick.dev/v1/imageprune", json::object());
  if (!freed) return stop_with(std::move(freed.error()));
  if (session.json) {
    print_document(session, *freed);
    return {};
  }
  const auto count = [&](const char* place, std::string_view one) {
    const auto number = number_at(*freed, place);
    return fmt::format("{} {}{}", number, one, number == 1 ? "" : "s");
  };
  session.terminal.result(fmt::format("{} freed: {} and {} removed",
                                      human_bytes(static_cast<std::uint64_t>(number_at(*freed, "/bytes"))),
                                      count("/blobs", "blob"), count("/layers", "unpacked layer")));
  return {};
}

Outcome<void> collect_images(Session& session) {
  auto freed = session.client.post("/apis/wick.dev/v1/imagegc", json::object());
  if (!freed) return stop_with(std::move(freed.error()));
  if (session.json) {
    print_document(session, *freed);
    return {};
  }
  const auto bytes = [&](const char* place) {
    return human_bytes(static_cast<std::uint64_t>(number_at(*freed, place)));
  };
  const auto layers = number_at(*freed, "/layers");
  session.terminal.result(
      fmt::format("{} freed: {} layer{} that nothing needs", bytes("/bytes"), layers, layers == 1 ? "" : "s"));
  session.terminal.say(fmt::format("images use {} of at most {}; {} of the disk are free, at least {} should be",
                                   bytes("/used"), bytes("/useMax"), bytes("/free"), bytes("/freeMin")));
  return {};
}

Outcome<void> verify_images(Session& session, const std::vector<std::string>& names) {
  auto wanted = names;
  if (wanted.empty()) {
    auto images = session.client.get(images_path());
    if (!images) return stop_with(std::move(images.error()));
    for (const auto& image : array_at(*images, "")) wanted.push_back(text_at(image, "/name"));
  }
  json::array verdicts;
  std::size_t damaged = 0;
  for (const auto& name : wanted) {
    // As long as it takes: a big image is read for minutes.
    auto verified = session.client.download("/apis/wick.dev/v1/imageverify?name=" + http::percent_encode(name),
                                            [](std::string_view) -> Result<void> { return {}; });
    // One that is damaged does not hide the others; a daemon that is gone does.
    if (!verified && verified.error().exit == ExitCode::unreachable) return stop_with(std::move(verified.error()));
    if (!verified && verified.error().exit == ExitCode::interrupted) return stop_with(std::move(verified.error()));
    if (!verified && names.size() == 1 && !session.json) return stop_with(std::move(verified.error()));
    const auto problem = verified ? std::string() : verified.error().what;
    damaged += !verified;
    if (!session.json) session.terminal.result(fmt::format("{} {}", name, verified ? "ok" : problem));
    verdicts.push_back({{"name", name}, {"ok", verified.has_value()}, {"problem", problem}});
  }
  if (session.json) print_document(session, verdicts);
  if (damaged == 0) return {};
  return stop_with({.exit = ExitCode::failed,
                    .what = fmt::format("{} of {} images cannot be used as they are", damaged, wanted.size()),
                    .slug = "E_CORRUPT",
                    .because = "a digest is not what it should be, or a part is missing",
                    .hint = "build or load them again"});
}

Outcome<void> save_images(Session& session, const SaveOptions& options) {
  std::string names;
  for (const auto& name : options.names) names += (names.empty() ? "" : ",") + http::percent_encode(name);
  const auto target = "/apis/wick.dev/v1/imagearchive?names=" + names;
  auto saved = options.file == "-" ? save_to_stdout(session, target, options) : save_to_file(session, target, options);
  if (!saved)
    return stop_with(std::move(saved.error()).within(fmt::format("{} was not saved", fmt::join(options.names, ", "))));
  return {};
}

}  // namespace wick::app::cli
