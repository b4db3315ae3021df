#include "app/cli/problem.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "app/cli/read_json.hpp"
#include "app/cli/terminal.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

Errc errc_of_status(int status) {
  switch (status) {
    case 400:
    case 422:
      return Errc::invalid;
    case 401:
    case 403:
      return Errc::denied;
    case 404:
      return Errc::not_found;
    case 408:
    case 504:
      return Errc::timed_out;
    case 409:
      return Errc::conflict;
    case 413:
      return Errc::too_large;
    case 429:
      return Errc::overloaded;
    case 405:
    case 415:
    case 501:
      return Errc::unsupported;
    case 502:
    case 503:
      return Errc::unavailable;
  }
  return Errc::internal;
}

std::string_view fallback_hint(Errc code) {
  switch (code) {
    case Errc::invalid:
      return "wick help shows every verb and flag";
    case Errc::not_found:
      return "wick ps lists what there is";
    case Errc::already_exists:
    case Errc::conflict:
      return "somebody else changed it meanwhile; look again and repeat the command";
    case Errc::denied:
      return "run it as root or as a member of the group that owns the socket";
    case Errc::too_large:
      return "make it smaller, or leave parts out with .dockerignore";
    case Errc::overloaded:
      return "try again in a moment";
    case Errc::timed_out:
      return "try again; wick doctor tells whether the machine is well";
    case Errc::unavailable:
      return "wick doctor tells what is wrong";
    case Errc::unsupported:
      return "wick version tells the daemon's version; wick doctor what this machine can do";
    case Errc::build_failed:
      return "fix the step and run wick deploy again";
    case Errc::not_ready:
      return "wick why NAME explains the last failure";
    case Errc::corrupt:
    case Errc::io:
    case Errc::cancelled:
    case Errc::internal:
      break;
  }
  return "wick doctor checks the machine; the daemon's own log says more (journalctl -u wick)";
}

std::string_view first_line(std::string_view text) { return trim(text.substr(0, text.find('\n'))); }

}  // namespace

ExitCode exit_code(Errc code) {
  switch (code) {
    case Errc::not_found:
      return ExitCode::not_found;
    case Errc::already_exists:
    case Errc::conflict:
    case Errc::denied:
    case Errc::too_large:
    case Errc::overloaded:
      return ExitCode::refused;
    case Errc::timed_out:
      return ExitCode::timed_out;
    case Errc::build_failed:
      return ExitCode::build_failed;
    case Errc::not_ready:
      return ExitCode::not_ready;
    case Errc::cancelled:
      return ExitCode::interrupted;
    case Errc::internal:
    case Errc::invalid:
    case Errc::unavailable:
    case Errc::unsupported:
    case Errc::corrupt:
    case Errc::io:
      break;
  }
  return ExitCode::failed;
}

Problem&& Problem::within(std::string headline) && {
  if (because.empty()) because = std::move(what);
  what = std::move(headline);
  return std::move(*this);
}

Problem&& Problem::or_hint(std::string next) && {
  if (hint.empty()) hint = std::move(next);
  return std::move(*this);
}

Problem problem_of(const Error& error) {
  Problem problem{
      .exit = exit_code(error.code()), .what = error.what(), .slug = slug(error.code()), .hint = error.hint()};
  return std::move(problem).or_hint(std::string(fallback_hint(error.code())));
}

Problem problem_of(int status, std::string_view body) {
  const Errc code = errc_of_status(status);
  Problem problem{.exit = exit_code(code), .slug = slug(code)};
  if (auto document = parse_json(body)) {
    problem.what = text_at(*document, "/message");
    if (auto own = text_at(*document, "/wick/slug"); !own.empty()) problem.slug = std::move(own);
    problem.hint = text_at(*document, "/wick/hint");
  } else {
    problem.what = printable(first_line(body));
  }
  if (problem.what.empty()) problem.what = fmt::format("the daemon answered {}", status);
  return std::move(problem).or_hint(std::string(fallback_hint(code)));
}

Problem problem_of(const model::Failure& failure, ExitCode exit, std::string headline) {
  Problem problem{.exit = exit,
                  .what = std::move(headline),
                  .slug = failure.slug,
                  .because = failure.because,
                  .last_output = failure.last_output,
                  .hint = failure.hint};
  if (!failure.message.empty())
    for (const auto line : split(failure.message, '\n')) problem.notes.push_back("message: " + std::string(line));
  if (problem.slug.empty()) problem.slug = exit == ExitCode::build_failed ? "E_BUILD_FAILED" : "E_NOT_READY";
  return problem;
}

Problem usage_problem(std::string what, std::string hint) {
  return {.exit = ExitCode::usage, .what = std::move(what), .slug = "E_USAGE", .hint = std::move(hint)};
}

std::string text_of(const Problem& problem) {
  std::string text = fmt::format("error: {}", safe_line(problem.what));
  if (!problem.slug.empty()) text += fmt::format("  [{}]", safe_line(problem.slug));
  text += '\n';
  if (!problem.because.empty()) text += fmt::format("  because: {}\n", safe_line(problem.because));
  if (!problem.last_output.empty()) text += "  last output:\n";
  for (const auto& line : problem.last_output) text += fmt::format("    {}\n", safe_line(line));
  for (const auto& note : problem.notes) text += fmt::format("  {}\n", safe_line(note));
  if (!problem.hint.empty()) text += fmt::format("  hint: {}\n", safe_line(problem.hint));
  return text;
}

boost::json::object json_of(const Problem& problem) {
  boost::json::array lines, notes;
  for (const auto& line : problem.last_output) lines.emplace_back(line);
  for (const auto& note : problem.notes) notes.emplace_back(note);
  return {{"error", problem.what},
          {"slug", problem.slug},
          {"because", problem.because},
          {"lastOutput", std::move(lines)},
          {"notes", std::move(notes)},
          {"hint", problem.hint},
          {"exitCode", static_cast<int>(problem.exit)}};
}

}  // namespace wick::app::cli
