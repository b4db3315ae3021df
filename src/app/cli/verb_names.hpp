// Every verb by name, for help and completion. The command line's own table (cli.cpp) is checked against it by a test.
#pragma once

#include <array>
#include <string_view>

namespace wick::app::cli {

inline constexpr std::array<std::string_view, 40> verb_names{
    "traffic", "rollback", "rollout", "deploy",     "dev",   "build",  "image",      "ps",      "logs",    "exec",
    "why",     "invoke",   "open",    "rm",         "apply", "export", "secret",     "trigger", "channel", "flow",
    "domain",  "source",   "sink",    "event",      "dlq",   "token",  "kubeconfig", "audit",   "serve",   "runner",
    "doctor",  "info",     "version", "completion", "help",  "up",     "ls",         "git",     "webhook", "preview"};

/// Those whose first argument is a service.
inline constexpr std::array<std::string_view, 9> verbs_with_service{"logs", "exec",    "why",      "invoke", "open",
                                                                    "rm",   "traffic", "rollback", "rollout"};

}  // namespace wick::app::cli
