#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "drop/config/config.h"

namespace drop {

/// What to replay, and how strictly.
struct ReplayOptions {
  std::string file;        ///< path of an HDF5 file, or a D4RL id
  std::string task;        ///< empty: follows from the D4RL id, the file's `task` attribute, its
                           ///< name or, in the fidelity layout, from its groups (then all of them)
  std::string dataset_id;  ///< D4RL id, where the file's name does not tell it
  Physics physics = Physics::kD4rl;
  double tolerance = 1e-6;
  int64_t episodes = 0;  ///< of each task, the first ones; 0 = all
  int64_t stride = 1;    ///< one step at a time: from every so many-th state
  bool quiet = false;    ///< no progress
};

/// Deviations |found - recorded| of the steps of an episode (of observations: the largest of a
/// step's dimensions).
struct Deviations {
  int64_t steps = 0;  ///< compared
  double largest = 0.0;
  double median = 0.0;
  double beyond_rounding = 0.0;  ///< the largest of what exceeds the rounding of a float32 array
};

/// One number that deviates.
struct ReplayPlace {
  std::string task;
  std::string episode;
  int64_t step = -1;  ///< of the episode, from 0; -1 = nothing deviates
  int64_t row = -1;   ///< of the file's arrays (fidelity layout: of the group's)
  int64_t dimension = -1;
  double found = 0.0;
  double recorded = 0.0;
};

/// A way to replay: whole trajectories, or one step at a time.
struct ReplayPass {
  Deviations observations;
  Deviations rewards;
  ReplayPlace worst;            ///< of observations, beyond rounding
  int64_t terminals = 0;        ///< compared
  int64_t wrong_terminals = 0;  ///< differ
  int64_t failed_steps = 0;     ///< MuJoCo refused; a whole trajectory ends there
  std::string error;            ///< its first message, or empty
};

/// Figures of one episode, or of all of them.
struct ReplayFigures {
  static constexpr std::array<int64_t, 3> kWithin = {10, 50, 200};

  int64_t steps = 0;  ///< recorded
  ReplayPass one_step;
  ReplayPass whole;
  double judged = 0.0;           ///< largest one-step deviation that decides, see `replay`
  ReplayPlace judged_worst;      ///< where that is
  int64_t judged_steps = 0;      ///< a task without any does not pass
  int64_t beyond_tolerance = 0;  ///< steps whose judged deviation exceeds the tolerance
  int64_t warm_started = 0;      ///< steps judged by the running simulation, see `replay`
  int64_t rounded_starts = 0;    ///< steps reproduced but for the rounding of their recorded start
  int64_t clipped_starts = 0;    ///< steps from a clipped velocity, not judged
  /// Largest deviation of the recorded states' own observations, beyond rounding. Not 0 in Adroit,
  /// whose observations are one simulator step older than the state.
  double start = 0.0;
  int64_t first_beyond = -1;  ///< first step of the whole trajectory beyond the tolerance, or -1
  /// Whole trajectory: largest deviation in the first kWithin steps.
  std::array<double, 3> within{};
  bool passed = true;
};

struct EpisodeReplay {
  std::string task;
  std::string name;       ///< "trajectory 3", "hopper/episode_0"
  int64_t first_row = 0;  ///< in the file
  ReplayFigures figures;
};

struct TaskReplay {
  std::string task;
  std::string dataset_id;  ///< may be empty
  int64_t episodes = 0;    ///< replayed
  int64_t recorded = 0;    ///< in the file
  std::string rewards;     ///< the reward convention found, in words
  std::vector<std::string> notes;
  ReplayFigures figures;  ///< of all its episodes
  std::array<double, 3> within_median{};
};

struct ReplayReport {
  std::string file;
  std::string sha256;
  std::string layout;  ///< "d4rl" or "fidelity"
  std::string physics;
  std::string mujoco_version;       ///< of this build
  std::string file_mujoco_version;  ///< as an attribute of the file tells it, or empty
  double tolerance = 0.0;
  int64_t stride = 1;
  std::vector<TaskReplay> tasks;
  std::vector<EpisodeReplay> episodes;
  bool passed = true;

  /// Why it failed, in one line; empty when it passed.
  std::string failure() const;
};

/// Does our physics match a file's? Starts each recorded episode in its recorded state and applies
/// the recorded actions: the whole trajectory at once, and one step at a time from each recorded
/// state (D4RL facts, 0.14).
///
/// Layouts: D4RL's (observations, actions, rewards, terminals, infos/qpos, infos/qvel; split into
/// trajectories as the library does everywhere) and the fidelity layout (groups TASK/episode_K with
/// T actions and T + 1 observations; Maze2D's are named by size and hold both kinds of rewards).
/// A task's variables come from the arrays that its TaskInfo names, else from each episode's first
/// observation, else the environment's own are kept, that episode's terminals are not compared, and
/// a note says so.
///
/// Judged are the one-step deviations of observations against the tolerance, after the rounding of
/// recorded float32 observations (half a unit in the last place) is taken off, and whether the
/// terminals agree. Everything else is reported, the raw deviations too. What a file cannot hold is
/// told apart from wrong physics, and counted:
/// - `warm_started`: a recorder's simulation runs on, and MuJoCo's solver starts from its last
///   solution (the warm start), which no file holds. With few iterations or a hard contact (a ball
///   pressed against a wall) that shows, by 1e-7 to 1e-6. So a step that deviates from a fresh
///   start is also reproduced when our running simulation makes it within the tolerance; it must
///   have stayed within the tolerance of the record from the episode's first step on and be in the
///   recorded state. The same holds for terminals, but not for steps that the fidelity layout tells
///   to come from a state set afresh.
/// - `rounded_starts`: where a file holds the states as float32 values, a step starts up to half a
///   unit in the last place beside the true state, and contacts amplify that. So a step is also
///   reproduced when it is within the tolerance after taking off how much it changes when each
///   rounded coordinate is moved to the ends of its interval (the sum over coordinates). A step
///   more than 1e4 tolerances off is not excused so: no rounding explains that, and to look for it
///   costs two steps a coordinate.
/// - `clipped_starts`: in hopper and walker2d a recorded velocity of exactly +-10 is a clipped one
///   (facts, 0.12), and the file does not hold the state. These steps are not judged; a task whose
///   steps all are such does not pass.
///
/// AntMaze's v0 files fail by themselves: their timeouts are out of step with the resets (facts,
/// 3.3; not in umaze), so that trajectories hold jumps of up to about 21, which no physics repeat.
///
/// Besides:
/// - Maze2D: a row that repeats the last row's observation while its state has moved on (facts,
///   0.15) is compared with its state. Rewards are compared by the convention found: sparse or
///   dense, of this or of the next observation (facts, 0.7).
/// - Terminals: Adroit's human files mark a demonstration's end by a terminal (facts, 0.11), and
///   locomotion files store a fall at the time limit as a timeout (facts, 6.4): both agree.
/// - A whole trajectory goes on where the environment ends an episode that the file continues (in
///   AntMaze, and behind a time limit), with the physics as they are (`Environment::resume`).
/// - A variable that changes within an episode (AntMaze's goal) is set before the step of its row.
/// - MuJoCo's refusal to go on ends a whole trajectory and fails a single step; the report goes on.
///
/// Throws DataError for a file that cannot be replayed (no states, values that are not finite),
/// UsageError for a task that is unknown, cannot be told, or does not fit the file or
/// the D4RL id, Interrupted after a signal.
ReplayReport replay(const ReplayOptions& options);

/// For people: one line an episode (long lists are cut in the middle), a summary, PASS or FAIL (why
/// is told by `ReplayReport::failure`).
std::string to_text(const ReplayReport& report);

/// Everything. A number that is not finite becomes null.
std::string to_json(const ReplayReport& report);

}  // namespace drop
