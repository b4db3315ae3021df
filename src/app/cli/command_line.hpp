// The command line as CLI11 parses it: which verbs there are, with their flags, and which of them was chosen.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/cli/deploy.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

using Verb = std::function<Outcome<void>(Session&)>;

/// A flag that may be given several times, one value each.
template <class T>
CLI::Option* add_repeated(CLI::App& verb, const char* flag, T& values, const char* about) {
  return verb.add_option(flag, values, about)->take_all()->allow_extra_args(false);
}

class CommandLine {
 public:
  CommandLine();

  CLI::App& app() { return app_; }
  Verb chosen;
  std::string name_space;
  bool json = false;
  std::vector<std::string> help_words;
  bool wants_help = false;

 private:
  CLI::App& verb(CLI::App& parent, const std::string& name, const std::string& about, Verb run);
  static void add_build_flags(CLI::App& sub, DeployOptions& options);
  static void add_detach_flag(CLI::App& sub, DeployOptions& options);
  void add_deploy();
  void add_dev();
  static void add_service_flags(CLI::App& sub, const std::shared_ptr<DeployOptions>& options);
  void add_build();
  void add_looking();
  void add_images();
  void add_calling();
  void add_secrets();
  void add_traffic();
  /// ls, show and rm of a group whose things are found by name.
  void add_named(CLI::App& group, const char* thing, Outcome<void> (*list)(Session&),
                 Outcome<void> (*show)(Session&, const std::string&),
                 Outcome<void> (*remove)(Session&, const std::string&));
  void add_channels();
  void add_domains();
  void add_flows();
  void add_source_options(CLI::App& verb, SourceOptions& options);
  void add_sources();
  void add_container_options(CLI::App& verb, ContainerOptions& options);
  static void add_mqtt_options(CLI::App& verb, MqttOptions& options);
  void add_sinks();
  void add_events();
  void add_stored_events(CLI::App& event);
  static void add_dead_letters(CLI::App& verb, DeadLetterOptions& options);
  void add_git();
  void add_previews();
  void add_webhooks();
  void add_token_flags(CLI::App& sub, TokenOptions& options);
  void add_access();
  void add_rest();
  static CLI::Validator duration_check();

  CLI::App app_;
};

}  // namespace wick::app::cli
