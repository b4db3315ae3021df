// Every long-lived object of the front. What they are made with is in front_wiring.cpp, their start and end in
// front.cpp.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/build_secrets.hpp"
#include "app/deliver.hpp"
#include "app/drain_file.hpp"
#include "app/front.hpp"
#include "app/gateway.hpp"
#include "app/guard.hpp"
#include "app/https.hpp"
#include "app/image_collector.hpp"
#include "app/images.hpp"
#include "app/open_acme.hpp"
#include "app/proxy_loops.hpp"
#include "wick/api/api.hpp"
#include "wick/api/followed_branches.hpp"
#include "wick/api/webhooks.hpp"
#include "wick/build/build.hpp"
#include "wick/container/launcher.hpp"
#include "wick/control/control.hpp"
#include "wick/eventing/eventing.hpp"
#include "wick/http/server.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/registry_store.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"
#include "wick/serving/serving.hpp"
#include "wick/store/objects.hpp"

namespace wick::app {

struct FrontFolders {
  std::filesystem::path content, registry, uploads, work, logs, build_logs, cache, builders, git;
};

inline std::size_t cores() { return static_cast<std::size_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN))); }

/// Every long-lived object of the front, in the order in which each needs the ones above it. Started and stopped by
/// run().
class Front {
 public:
  static Result<std::unique_ptr<Front>> make(asio::io_context& loop, const Config& config, FrontSockets sockets,
                                             std::shared_ptr<const store::Vault> vault);

  awaitable<Result<void>> run();

 private:
  Front(asio::io_context& loop, const Config& config, FrontSockets sockets, FrontFolders folders,
        image::ContentStore content, std::unique_ptr<store::Database> control_database,
        std::unique_ptr<store::Database> event_database)
      : loop_(loop),
        config_(config),
        sockets_(std::move(sockets)),
        reports_(std::move(sockets_.guard)),
        folders_(std::move(folders)),
        content_(std::move(content)),
        control_database_(std::move(control_database)),
        event_database_(std::move(event_database)) {}

  Result<void> build(std::shared_ptr<const store::Vault> vault);
  Result<void> build_acme();
  http::Handler before_services(http::Handler services);
  awaitable<Result<void>> start();
  awaitable<Result<void>> wait_for_end();
  awaitable<void> stroke_watchdog(std::chrono::microseconds pause);
  awaitable<void> stop();
  awaitable<void> drain();
  awaitable<void> stop_edge(milliseconds grace);
  awaitable<bool> hand_over();
  awaitable<void> give_up();
  awaitable<void> linger();
  awaitable<void> stop_flows(milliseconds grace);
  awaitable<void> flow_to_end();
  awaitable<void> tell_in_flight(DrainFile file);
  awaitable<void> follow_earlier(RequestCounts counted);
  awaitable<void> count_events(const http::Handler& take, http::Exchange& exchange);
  std::filesystem::path drain_folder() const { return front_folder(config_) / "drains"; }
  bool ends_instances() const { return config_.on_stop == OnStop::stop && !runner_lost_ && !hands_over_; }
  std::size_t loops() const { return config_.loops > 0 ? config_.loops : cores(); }
  awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> adopt();
  awaitable<std::expected<build::BuiltImage, build::BuildFailure>> build_image(build::BuildRequest request,
                                                                               build::OnProgress progress);
  awaitable<std::expected<build::BuiltImage, build::BuildFailure>> build_once(build::BuildRequest request,
                                                                              build::OnProgress progress);
  awaitable<void> events_inside(std::string owner, http::Exchange& exchange);
  awaitable<void> listen_inside(std::vector<container::InstanceId> instances);
  model::AdmissionPolicy admission_policy() const;
  api::Doors api_doors();
  awaitable<void> seal_secrets_anew();

  asio::io_context& loop_;
  Executor executor_ = loop_.get_executor();
  const Config& config_;
  FrontSockets sockets_;
  Reports reports_{};
  FrontFolders folders_;
  SteadyClock clock_;
  Metrics metrics_;
  WorkerPool workers_{2};
  image::ContentStore content_;
  std::unique_ptr<image::RegistryStore> registry_;
  std::unique_ptr<store::Database> control_database_;
  std::unique_ptr<store::Database> event_database_;
  std::shared_ptr<const store::Vault> vault_;
  std::unique_ptr<store::Objects> objects_;
  std::unique_ptr<container::RunnerClient> runner_;
  std::unique_ptr<container::RunnerLauncher> launcher_;
  std::unique_ptr<build::Builder> builder_;
  BuildSecrets build_secrets_{clock_};
  std::unique_ptr<LocalImages> images_;
  std::unique_ptr<ProxyLoops> proxy_loops_;  // serving_ has objects on these loops
  std::unique_ptr<serving::Serving> serving_;
  std::unique_ptr<Deliverer> deliverer_;
  std::unique_ptr<eventing::Eventing> eventing_;
  std::unique_ptr<Gateway> gateway_;
  std::vector<container::InstanceId> adopted_;  // until they are listened to
  std::unique_ptr<Https> https_;
  std::unique_ptr<acme::Acme> acme_;  // nullptr: off
  std::unique_ptr<control::Control> control_;
  std::unique_ptr<http::Server> edge_server_;
  std::unique_ptr<http::Server> events_server_;
  std::shared_ptr<api::Webhooks> webhooks_;
  std::unique_ptr<api::FollowedBranches> followed_;
  std::unique_ptr<http::Server> api_server_;
  std::string listen_address_;
  std::string https_address_;
  std::string events_address_;
  std::string api_address_;
  std::string secret_key_;  // fingerprint; empty until every Secret is sealed with that key
  bool runner_lost_ = false;
  bool disk_broken_ = false;
  bool stopping_ = false;
  bool hands_over_ = false;  // another front takes over: what flows goes on
  int events_in_flight_ = 0;
  asio::signal_set signals_{loop_, SIGTERM, SIGINT};
  TaskGroup tasks_{executor_};
  bool flowed_ = false;
  TaskGroup lingering_{executor_};  // once another front has taken over
};

}  // namespace wick::app
