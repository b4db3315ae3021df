#include "app/cli/progress.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "wick/base/time.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t step_width = 9;
constexpr std::size_t text_width = 48;

std::string padded(std::string_view text, std::size_t width) {
  std::string cell(text);
  if (const auto used = width_of(text); used < width) cell.append(width - used, ' ');
  return cell;
}

}  // namespace

Progress::Progress(Session& session, std::string name, Now now)
    : session_(session), name_(std::move(name)), now_(std::move(now)), since_(now_()) {}

std::string Progress::format(std::string_view step, std::string_view text, std::string_view elapsed) const {
  auto line = fmt::format("{}  {}  ", session_.terminal.err_colour(Colour::bold, name_), padded(step, step_width));
  line += elapsed.empty() ? std::string(text) : fmt::format("{}  {}", padded(text, text_width), elapsed);
  return line;
}

milliseconds Progress::since_start() const { return std::chrono::duration_cast<milliseconds>(now_() - since_); }

void Progress::emit(std::string_view kind, std::string_view step, std::string_view text, milliseconds elapsed) {
  json::object fields{{"step", step}, {"text", text}};
  if (elapsed.count() > 0) fields["elapsedMs"] = elapsed.count();
  document(kind, std::move(fields));
}

void Progress::document(std::string_view kind, json::object fields) {
  json::object line{{"ts", to_rfc3339_nano(wall_now())}, {"kind", kind}, {"name", name_}};
  for (auto& [key, value] : fields) line[key] = std::move(value);
  session_.terminal.result(json::serialize(line));
}

void Progress::event(const json::value& line) {
  const auto kind = text_at(line, "/kind"), step = text_at(line, "/step"), text = safe_line(text_at(line, "/text"));
  const milliseconds elapsed(number_at(line, "/elapsedMs"));
  if (session_.json) {
    json::object same{{"name", name_}};
    if (line.is_object())
      for (const auto& [key, value] : line.get_object()) same[key] = value;
    session_.terminal.result(json::serialize(same));
    return;
  }
  if (kind == "started") return started(step, text);
  if (kind == "finished") return finished(step, text, elapsed);
  if (kind == "failed") return failed(step, text, elapsed);
  if (kind == "cached")
    return session_.terminal.say(format(step, text, session_.terminal.err_colour(Colour::dim, "cached")));
  session_.terminal.say(format(step, session_.terminal.err_colour(Colour::dim, "| " + text), ""));
}

void Progress::started(std::string_view step, std::string_view text) {
  step_ = step;
  text_ = safe_line(text);
  since_ = now_();
  if (session_.json) return emit("started", step, text, milliseconds(0));
  if (session_.terminal.live()) return tick();
  session_.terminal.say(format(step_, text_, ""));
}

void Progress::tick() {
  if (session_.json || step_.empty()) return;
  const auto elapsed = since_start();
  session_.terminal.say_for_now(format(step_, text_, elapsed < 100ms ? "…" : human_duration(elapsed)));
}

void Progress::note(std::string_view step, std::string_view text) {
  step_.clear();
  if (session_.json) return emit("finished", step, text, milliseconds(0));
  session_.terminal.say(format(step, safe_line(text), ""));
}

void Progress::finished(std::string_view step, std::string_view text) { finished(step, text, since_start()); }

void Progress::finished(std::string_view step, std::string_view text, milliseconds elapsed) {
  step_.clear();
  if (session_.json) return emit("finished", step, text, elapsed);
  session_.terminal.say(format(step, safe_line(text), human_duration(elapsed)));
}

void Progress::failed(std::string_view step, std::string_view text) { failed(step, text, since_start()); }

void Progress::failed(std::string_view step, std::string_view text, milliseconds elapsed) {
  step_.clear();
  if (session_.json) return emit("failed", step, text, elapsed);
  const auto shown = fmt::format("{} {}", session_.terminal.err_colour(Colour::red, "failed"), safe_line(text));
  session_.terminal.say(format(step, text.empty() ? session_.terminal.err_colour(Colour::red, "failed") : shown,
                               human_duration(elapsed)));
}

}  // namespace wick::app::cli
