// The report of a replay as text and as JSON.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "drop/base/json.h"
#include "drop/base/text.h"
#include "drop/env/replay.h"

namespace drop {

namespace {

using Json = nlohmann::ordered_json;

// ---- text ---------------------------------------------------------------------------------------

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2e", value);
  return value == 0.0 ? "0" : text;
}

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  char line[240];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

std::string padded(const std::string& text, size_t width) {
  return text + std::string(width > text.size() ? width - text.size() : 0, ' ');
}

// one line of an episode
std::string line_of(const EpisodeReplay& episode, size_t name_width) {
  const ReplayFigures& f = episode.figures;
  const std::string verdict = !f.passed               ? "FAIL"
                              : f.whole.error.empty() ? "ok"
                                                      : "ok, whole trajectory failed";
  return padded(episode.name, name_width) +
         formatted(" %7lld  %9s %9s %9s %9s %5lld  %9s %9s %9s %7s  ",
                   static_cast<long long>(f.steps), number(f.one_step.observations.largest).c_str(),
                   number(f.one_step.observations.median).c_str(), number(f.judged).c_str(),
                   number(f.one_step.rewards.largest).c_str(),
                   static_cast<long long>(f.one_step.wrong_terminals),
                   number(f.whole.observations.largest).c_str(),
                   number(f.whole.observations.median).c_str(),
                   number(f.whole.rewards.largest).c_str(),
                   f.first_beyond < 0 ? "never" : std::to_string(f.first_beyond).c_str()) +
         verdict + "\n";
}

std::string table_of(const ReplayReport& report, const std::string& task) {
  constexpr size_t kShown = 10;  // at either end of a long table
  std::vector<const EpisodeReplay*> episodes;
  size_t width = 7;
  for (const EpisodeReplay& episode : report.episodes) {
    if (episode.task != task) continue;
    episodes.push_back(&episode);
    width = std::max(width, episode.name.size());
  }
  std::string text =
      padded("", width) +
      formatted(" %7s  %-45s  %s\n", "", "one step at a time", "whole trajectory") +
      padded("episode", width) +
      formatted(" %7s  %9s %9s %9s %9s %5s  %9s %9s %9s %7s\n", "steps", "largest", "median",
                "judged", "rewards", "ends", "largest", "median", "rewards", "leaves");
  for (size_t i = 0; i < episodes.size(); ++i) {
    if (episodes.size() > 2 * kShown + 1 && i == kShown) {
      text += "... (" + std::to_string(episodes.size() - 2 * kShown) + " more)\n";
      i = episodes.size() - kShown;
    }
    text += line_of(*episodes[i], width);
  }
  return text;
}

std::string fact(const std::string& name, const std::string& value) {
  return "  " + padded(name, 18) + value + "\n";
}

std::string place_text(const ReplayPlace& place) {
  if (place.step < 0) return "";
  return " (" + place.episode + ", step " + std::to_string(place.step) + ", dimension " +
         std::to_string(place.dimension) + ": found " + shortest(place.found) + ", recorded " +
         shortest(place.recorded) + ")";
}

std::string deviations_text(const Deviations& deviations) {
  return "largest " + number(deviations.largest) + ", median " + number(deviations.median) +
         ", beyond rounding " + number(deviations.beyond_rounding) + ", " +
         std::to_string(deviations.steps) + " steps";
}

std::string pass_text(const std::string& name, const ReplayPass& pass) {
  std::string text = fact(name, deviations_text(pass.observations) + place_text(pass.worst)) +
                     fact("  rewards", deviations_text(pass.rewards)) +
                     fact("  terminals", std::to_string(pass.wrong_terminals) + " of " +
                                             std::to_string(pass.terminals) + " differ");
  if (pass.failed_steps > 0) {
    text += fact("  failed", std::to_string(pass.failed_steps) + ": " + pass.error);
  }
  return text;
}

std::string summary_of(const TaskReplay& task, double tolerance) {
  const ReplayFigures& f = task.figures;
  std::string text = pass_text("one step", f.one_step) + pass_text("whole trajectory", f.whole);
  std::vector<std::string> parts;
  for (size_t i = 0; i < f.within.size(); ++i) {
    parts.push_back("first " + std::to_string(ReplayFigures::kWithin[i]) + " steps " +
                    number(f.within[i]) + " (median " + number(task.within_median[i]) + ")");
  }
  text += fact("  largest in the", join(parts));
  text +=
      fact("  leaves", f.first_beyond < 0 ? "never: no episode goes beyond " + shortest(tolerance)
                                          : "the record by more than " + shortest(tolerance) +
                                                " at step " + std::to_string(f.first_beyond) +
                                                " in the episode that does so first");
  text += fact("states", "their own observations deviate by " + number(f.start) +
                             " at most, beyond rounding");
  text += fact("judged", "largest " + number(f.judged) + place_text(f.judged_worst) + ", " +
                             std::to_string(f.beyond_tolerance) + " of " +
                             std::to_string(f.judged_steps) + " steps beyond the tolerance");
  text += fact("rewards", task.rewards);
  for (const std::string& note : task.notes) text += fact("note", note);
  return text;
}

// ---- JSON ---------------------------------------------------------------------------------------

Json json_of(const Deviations& deviations) {
  return {{"steps", deviations.steps},
          {"largest", deviations.largest},
          {"median", deviations.median},
          {"beyond_rounding", deviations.beyond_rounding}};
}

Json json_of(const ReplayPlace& place) {
  if (place.step < 0) return nullptr;
  return {{"task", place.task},        {"episode", place.episode},     {"step", place.step},
          {"row", place.row},          {"dimension", place.dimension}, {"found", place.found},
          {"recorded", place.recorded}};
}

Json json_of(const ReplayPass& pass) {
  return {{"observations", json_of(pass.observations)},
          {"worst", json_of(pass.worst)},
          {"rewards", json_of(pass.rewards)},
          {"terminals", {{"compared", pass.terminals}, {"differ", pass.wrong_terminals}}},
          {"failed_steps", pass.failed_steps},
          {"error", pass.error.empty() ? Json(nullptr) : Json(pass.error)}};
}

Json within_json(const std::array<double, 3>& within) {
  Json json;
  for (size_t i = 0; i < within.size(); ++i) {
    json[std::to_string(ReplayFigures::kWithin[i])] = within[i];
  }
  return json;
}

void add_figures(const ReplayFigures& f, Json& json) {
  json["passed"] = f.passed;
  json["steps"] = f.steps;
  json["judged"] = {{"steps", f.judged_steps},           {"largest", f.judged},
                    {"worst", json_of(f.judged_worst)},  {"beyond_tolerance", f.beyond_tolerance},
                    {"warm_started", f.warm_started},    {"rounded_starts", f.rounded_starts},
                    {"clipped_starts", f.clipped_starts}};
  json["one_step"] = json_of(f.one_step);
  json["whole_trajectory"] = json_of(f.whole);
  json["whole_trajectory"]["first_step_beyond_tolerance"] =
      f.first_beyond < 0 ? Json(nullptr) : Json(f.first_beyond);
  json["whole_trajectory"]["largest_within"] = within_json(f.within);
  json["state_observations_beyond_rounding"] = f.start;
}

}  // namespace

std::string to_text(const ReplayReport& report) {
  std::string text =
      "file    " + report.file + "\nlayout  " + report.layout + ", made with MuJoCo " +
      (report.file_mujoco_version.empty() ? "of an unknown version" : report.file_mujoco_version) +
      "\nreplay  physics " + report.physics + ", MuJoCo " + report.mujoco_version + ", tolerance " +
      shortest(report.tolerance) +
      (report.stride > 1 ? ", one step from one state in " + std::to_string(report.stride) : "") +
      "\n";
  for (const TaskReplay& task : report.tasks) {
    text += "\ntask " + task.task +
            (task.dataset_id.empty() ? "" : ", data set " + task.dataset_id) + ": " +
            std::to_string(task.episodes) + " of " + std::to_string(task.recorded) + " episodes\n" +
            table_of(report, task.task) + summary_of(task, report.tolerance);
  }
  if (!report.passed) return text + "\nFAIL\n";
  const bool has_terminals =
      std::any_of(report.tasks.begin(), report.tasks.end(),
                  [](const TaskReplay& task) { return task.figures.one_step.terminals > 0; });
  return text + "\nPASS: one step at a time, observations agree within " +
         shortest(report.tolerance) + (has_terminals ? " and terminals agree" : "") + "\n";
}

std::string to_json(const ReplayReport& report) {
  Json json = {
      {"file", report.file},
      {"sha256", report.sha256},
      {"layout", report.layout},
      {"physics", report.physics},
      {"mujoco_version", report.mujoco_version},
      {"file_mujoco_version",
       report.file_mujoco_version.empty() ? Json(nullptr) : Json(report.file_mujoco_version)},
      {"tolerance", report.tolerance},
      {"stride", report.stride},
      {"passed", report.passed},
      {"tasks", Json::array()},
      {"episodes", Json::array()}};
  for (const TaskReplay& task : report.tasks) {
    Json one = {{"task", task.task},
                {"dataset", task.dataset_id},
                {"episodes", task.episodes},
                {"episodes_recorded", task.recorded},
                {"reward_convention", task.rewards},
                {"notes", task.notes}};
    add_figures(task.figures, one);
    one["whole_trajectory"]["median_within"] = within_json(task.within_median);
    json["tasks"].push_back(std::move(one));
  }
  for (const EpisodeReplay& episode : report.episodes) {
    Json one = {
        {"task", episode.task}, {"episode", episode.name}, {"first_row", episode.first_row}};
    add_figures(episode.figures, one);
    json["episodes"].push_back(std::move(one));
  }
  return json_text(json);
}

}  // namespace drop
