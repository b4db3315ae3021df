#include <fmt/format.h>

#include "app/cli/verb_names.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

constexpr milliseconds names_limit{100};  // a shell waits for this at every Tab

constexpr std::string_view bash_script = R"sh(# wick completion for bash: source <(wick completion bash)
_wick() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{0}" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = trigger ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "add ls rm" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = channel ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "add subscribe unsubscribe ls show rm" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = flow ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "sequence parallel ls show rm" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = source ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "ping binding apiserver ls show rm" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = secret ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "set ls rm" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = image ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "ls inspect rm save load prune" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = event ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "send tail list retry replay graph" -- "$word"))
  elif [ "${{COMP_WORDS[1]}}" = dlq ] && [ "$COMP_CWORD" -eq 2 ]; then
    COMPREPLY=($(compgen -W "ls retry purge" -- "$word"))
  elif [[ " {1} " = *" ${{COMP_WORDS[1]}} "* ]] && [[ $word != -* ]]; then
    COMPREPLY=($(compgen -W "$(wick __names 2>/dev/null)" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _wick wick
)sh";

constexpr std::string_view zsh_script = R"sh(#compdef wick
# wick completion for zsh: source <(wick completion zsh)
_wick() {{
  if (( CURRENT == 2 )); then
    compadd {0}
  elif [[ $words[2] == trigger && CURRENT -eq 3 ]]; then
    compadd add ls rm
  elif [[ $words[2] == channel && CURRENT -eq 3 ]]; then
    compadd add subscribe unsubscribe ls show rm
  elif [[ $words[2] == flow && CURRENT -eq 3 ]]; then
    compadd sequence parallel ls show rm
  elif [[ $words[2] == source && CURRENT -eq 3 ]]; then
    compadd ping binding apiserver ls show rm
  elif [[ $words[2] == secret && CURRENT -eq 3 ]]; then
    compadd set ls rm
  elif [[ $words[2] == image && CURRENT -eq 3 ]]; then
    compadd ls inspect rm save load prune
  elif [[ $words[2] == event && CURRENT -eq 3 ]]; then
    compadd send tail list retry replay graph
  elif [[ $words[2] == dlq && CURRENT -eq 3 ]]; then
    compadd ls retry purge
  elif [[ " {1} " == *" $words[2] "* ]]; then
    compadd -- ${{(f)"$(wick __names 2>/dev/null)"}}
  else
    _files
  fi
}}
compdef _wick wick
)sh";

constexpr std::string_view fish_script = R"sh(# wick completion for fish: wick completion fish | source
complete -c wick -n __fish_use_subcommand -f -a "{0}"
complete -c wick -n "__fish_seen_subcommand_from {1}" -f -a "(wick __names 2>/dev/null)"
complete -c wick -n "__fish_seen_subcommand_from trigger" -f -a "add ls rm"
complete -c wick -n "__fish_seen_subcommand_from secret" -f -a "set ls rm"
complete -c wick -n "__fish_seen_subcommand_from image" -f -a "ls inspect rm save load prune"
complete -c wick -n "__fish_seen_subcommand_from channel" -f -a "add subscribe unsubscribe ls show rm"
complete -c wick -n "__fish_seen_subcommand_from flow" -f -a "sequence parallel ls show rm"
complete -c wick -n "__fish_seen_subcommand_from source" -f -a "ping binding apiserver ls show rm"
complete -c wick -n "__fish_seen_subcommand_from event" -f -a "send tail list retry replay graph"
complete -c wick -n "__fish_seen_subcommand_from dlq" -f -a "ls retry purge"
)sh";

}  // namespace

Outcome<void> print_completion(Session& session, const std::string& shell) {
  const auto script = shell == "bash"   ? bash_script
                      : shell == "zsh"  ? zsh_script
                      : shell == "fish" ? fish_script
                                        : std::string_view();
  if (script.empty())
    return stop_with(usage_problem(fmt::format("there is no completion for '{}'", shell), "one of bash, zsh, fish"));
  session.terminal.result_bytes(
      fmt::format(fmt::runtime(script), fmt::join(verb_names, " "), fmt::join(verbs_with_service, " ")));
  return {};
}

Outcome<void> complete_names(Session& session) {
  http::Request request;
  request.head.authority = "wick";
  request.head.target = service_path(session.name_space);
  const auto answer = session.client.send(std::move(request), names_limit);
  if (!answer) return {};
  const auto list = parse_json(answer->body);
  if (!list) return {};
  for (const auto& service : array_at(*list, "/items"))
    session.terminal.result(safe_line(text_at(service, "/metadata/name")));
  return {};
}

}  // namespace wick::app::cli
