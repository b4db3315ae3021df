// Shipwright's Build and BuildRun (shipwright.io/v1beta1): source to image as an API object.
//
//   apiVersion: shipwright.io/v1beta1
//   kind: BuildRun
//   metadata:
//     generateName: hello-
//     annotations: {wick.dev/deploy:
//     '{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"}, …}'}
//   spec:
//     build:                                 # {name: B} refers to a Build; {spec: …} carries it inline
//       spec:
//         source:
//           type: Git                        # or Local: an upload
//           git: {url: https://…, revision: main, cloneSecret: login}
//           local: {name: <sha256 hex of the upload>}
//           contextDir: sub/folder
//         strategy: {name: wick}            # or the name of a builder: node
//         paramValues:                       # all optional
//           - {name: dockerfile, value: Dockerfile}
//           - {name: target, value: stage}
//           - {name: allow-local, value: "true"}   # file:// URLs
//           - {name: build-args, values: [{value: KEY=VALUE}]}
//         output: {image: dev.local/hello}
//         timeout: 30m
//
// status: conditions[Succeeded], output.digest, source.git.commitSha, commit, detected, unchanged, warnings, startTime,
// completionTime, service {name, namespace} once a deploy was applied, failure (model::Failure) when it failed.
#pragma once

#include <optional>
#include <string>

#include "wick/base/time.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

struct BuildSpec {
  enum class Source { git, local } source = Source::git;
  std::string git_url;
  std::string git_revision;
  std::string git_secret;    // cloneSecret: kubernetes.io/basic-auth or ssh-auth
  bool allow_local = false;  // file:// URLs
  std::string upload;        // sha256 hex
  std::string context_dir;
  std::string dockerfile;
  std::string builder;  // strategy.name; empty for "wick": the Dockerfile, else the builder that fits
  std::string target;
  TextMap build_args;
  std::string output_image;
  milliseconds timeout{30 * 60 * 1000};
};

struct BuildRun {
  Metadata metadata;
  std::string build_name;  // empty when `spec` is inline
  std::optional<BuildSpec> spec;
  std::optional<std::string> output_image;  // overrides the Build's
  std::optional<milliseconds> timeout;
  bool cancelled = false;  // spec.state: BuildRunCanceled
};

BuildSpec decode_build_spec(ObjectReader reader);
BuildRun decode_build_run(const json::object& object, FieldErrors& errors);

}  // namespace wick::model
