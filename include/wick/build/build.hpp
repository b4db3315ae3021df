// Source to image: fetch, plan, steps, assemble.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "wick/build/base_choice.hpp"
#include "wick/build/git_credentials.hpp"
#include "wick/container/runner.hpp"
#include "wick/image/content_store.hpp"
#include "wick/model/failure.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/worker.hpp"

namespace wick::build {

struct GitSource {
  std::string url;  // https, http, ssh; file:// only with allow_local
  std::string ref;  // branch, tag or commit; empty is HEAD
  bool allow_local = false;
  GitCredentials credentials;
};
/// A tar (an upload of `wick deploy DIR`) that lies in a file of ours.
struct ArchiveSource {
  std::filesystem::path path;
  std::string commit;  // what the client says it is; "" without git
  bool dirty = false;
};

struct BuildRequest {
  std::variant<GitSource, ArchiveSource> source;
  std::string subpath;     // folder of the source to build
  std::string dockerfile;  // empty: "Dockerfile" (or "Containerfile") if there is one, else the builders
  std::optional<std::string> dockerfile_text;  // the Dockerfile itself, where it is not part of the source
  std::string builder;                         // name of a builder ("node"): it is used even where a Dockerfile is
  std::string target;                          // stage; empty is the last
  std::map<std::string, std::string> build_args;
  std::map<std::string, std::string> secrets;  // of RUN --mount=type=secret, by id; in no key, layer or log
  std::string secrets_name_space;              // of the ticket for secrets that the daemon keeps in memory;
  std::string secrets_ticket;                  // "": there are none
  std::string reference;                       // name of the result in the content store
  EgressPolicy egress;                         // of RUN steps
  container::Limits limits{.memory_bytes = 2ull << 30, .cpu_millis = 2000, .pids = 4096};
  milliseconds limit{30 * 60 * 1000};
};

/// One line of progress, in order. Kept by the caller and shown as text or JSON.
struct Progress {
  enum class Kind { started, output, cached, finished, failed } kind = Kind::started;
  std::string step;  // fetch, detect, build, assemble
  std::string text;  // "RUN npm ci", a line of output, …
  milliseconds elapsed{0};
};
using OnProgress = std::function<void(const Progress&)>;

struct BuiltImage {
  image::Image image;
  std::string commit;      // of the source; "-dirty" at the end for changed folders; "" where there is none
  std::string detected;    // "Dockerfile", "Node.js (package.json)"
  bool unchanged = false;  // every step came from the cache
  std::vector<std::string> warnings;
};

struct BuildFailure {
  Error error;
  model::Failure failure;
};

/// A layer that builds keep for the next one, with the last time that one took it from there.
struct KeptLayer {
  Digest layer;
  std::uint64_t bytes = 0;  // of its tar
  WallTime used;
};

class Builder {
 public:
  struct Places {
    std::filesystem::path builders;  // declarative files, one a language, and what they embed
    std::filesystem::path work;      // scratch of ours
    std::filesystem::path cache;     // step keys
    BaseChoice bases = BaseChoice::automatic;
  };
  Builder(Executor executor, Clock& clock, WorkerPool& workers, container::Runner& runner, image::ContentStore& store,
          Places places);
  ~Builder();

  /// Cancelling ends the running step and leaves nothing behind. Equal requests that run at the same time share one
  /// build.
  awaitable<std::expected<BuiltImage, BuildFailure>> run(BuildRequest request, OnProgress progress);

  /// Fetches an image that is not here and names it so; without one a base is here or it is not.
  using PullBase = std::function<awaitable<Result<image::Image>>(std::string name, std::function<void(std::string)>)>;
  void pull_with(PullBase pull);

  /// For the garbage collection of layers, which runs beside builds.
  awaitable<std::vector<KeptLayer>> kept_layers();
  /// Some layers are gone: forgets the steps that made them.
  awaitable<void> forget_layers(std::vector<Digest> layers);
  /// From now on uses() tells of every layer that a build stands on or stood on after this.
  void watch_use();
  bool uses(const Digest& layer) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::build
