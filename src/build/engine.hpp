// One build, from request to image: fetch, detect, plan, steps, assemble.
#pragma once

#include <deque>
#include <expected>
#include <memory>

#include "bases.hpp"
#include "detect.hpp"
#include "fetch.hpp"
#include "layers_in_use.hpp"
#include "plan.hpp"
#include "step_cache.hpp"
#include "step_runner.hpp"
#include "wick/build/build.hpp"

namespace wick::build {

class Engine {
 public:
  struct Parts {
    Clock& clock;
    WorkerPool& workers;
    container::Runner& runner;
    image::ContentStore& store;
    Bases& bases;
    ExitWatch& exits;
    CacheMounts& cache_mounts;
    LayersInUse& layers_in_use;
    const StepCache& cache;
    const Builder::Places& places;
  };
  Engine(Parts parts, BuildRequest request, OnProgress progress);

  awaitable<std::expected<BuiltImage, BuildFailure>> run();

 private:
  /// A Dockerfile, the project's own or one that a builder wrote.
  struct Instructions {
    Dockerfile file;
    std::string title;  // "Dockerfile", "Node.js (package.json)"
  };
  struct StageResult {
    std::vector<image::Descriptor> layers;
    std::vector<image::ImageConfig::History> history;
  };
  struct Made {
    image::ImageConfig config;
    StageResult result;
  };

  awaitable<Result<BuiltImage>> build();
  awaitable<Result<Made>> make_from(const Fetched& source);
  awaitable<Result<std::unique_ptr<Fetched>>> fetch_source();
  awaitable<Result<Context>> open_context(const Fetched& source);
  awaitable<Result<Instructions>> find_instructions(Context& context);
  awaitable<Result<Instructions>> instructions_of_builder(Context& context);
  awaitable<Result<Plan>> make_plan_of(const Dockerfile& file);
  awaitable<Result<StageResult>> run_stages(const Plan& plan, const Dockerfile& file, const Context& context);
  struct Stages;
  awaitable<void> stage_task(const Plan& plan, std::size_t index, const Dockerfile& file, const Context& context,
                             Stages& stages);
  awaitable<Result<StageResult>> run_stage(const Plan& plan, std::size_t index, const Dockerfile& file,
                                           const Context& context, Stages& stages);
  awaitable<Result<StepResult>> run_step(const Plan& plan, const Step& step, const Context& context, StepRunner& runner,
                                         const StageResult& stage, const Stages& stages);
  awaitable<Result<Digest>> inputs_of(const Step& step, const Context& context, StepInputs& inputs);
  awaitable<Result<Digest>> inputs_of_mounts(const RunStep& run, const Context& context, const StepInputs& inputs);
  awaitable<Result<std::shared_ptr<const Remote>>> fetch_remote(const CopyStep& copy, const CopyStep::Remote& remote);
  awaitable<std::optional<StepResult>> find_cached(Digest key);
  awaitable<Result<BuiltImage>> assemble(Made made);
  void name_base(const Plan& plan, image::ImageConfig& config) const;

  void enter(std::string phase, std::string text);
  void report(Progress::Kind kind, std::string text);
  void hear_output(std::deque<std::string>& tail, std::string line);
  BuildFailure failure_of(Error error) const;

  Parts parts_;
  BuildRequest request_;
  OnProgress progress_;
  TimePoint started_{};
  std::string phase_ = "fetch";
  std::string file_name_;                // of the Dockerfile, and
  std::string file_text_;                // its text, to show the line that is wrong
  std::string doing_;                    // the step that runs
  std::deque<std::string> output_tail_;  // of the RUN that runs
  bool out_of_memory_ = false;
  std::vector<std::string> network_environment_;
  std::map<std::string, Base> bases_;
  std::map<std::string, std::string> build_args_;
  std::int64_t epoch_ = 0;
  std::string commit_;
  std::string detected_;
  bool by_builder_ = false;
  std::vector<std::string> warnings_;
  std::size_t steps_total_ = 0;
  std::size_t steps_begun_ = 0;
  std::size_t steps_run_ = 0;
  LayersInUse::Pins pins_;
};

}  // namespace wick::build
