#include <algorithm>
#include <cmath>
#include <limits>

#include "env/adroit.h"

namespace drop {

namespace {

constexpr int kNail = 42;  // in the observation: the nail head's position

// roll, pitch and yaw of a body's orientation, with D4RL's signs
std::array<double, 3> euler_angles(const double* quaternion) {
  double m[9];
  mju_quat2Mat(m, quaternion);
  const double cosine = std::hypot(m[8], m[5]);
  const double pitch = -std::atan2(-m[2], cosine);
  constexpr double kSmall = 4.0 * std::numeric_limits<double>::epsilon();
  if (cosine > kSmall) return {-std::atan2(m[5], m[8]), pitch, -std::atan2(m[1], m[0])};
  return {0.0, pitch, -std::atan2(-m[3], m[4])};
}

// pick the hammer up and drive the nail in
class HammerEnvironment final : public AdroitEnvironment {
 public:
  explicit HammerEnvironment(Physics physics)
      : AdroitEnvironment({"hammer", 46, 26, 200, {{"infos/board_pos", mjOBJ_BODY, "nail_board"}}},
                          physics),
        hammer_(id_of(mjOBJ_BODY, "Object")),
        palm_(id_of(mjOBJ_SITE, "S_grasp")),
        tool_(id_of(mjOBJ_SITE, "tool")),
        nail_(id_of(mjOBJ_SITE, "S_target")),
        goal_(id_of(mjOBJ_SITE, "nail_goal")),
        impact_(model().sensor_adr[id_of(mjOBJ_SENSOR, "S_nail")]) {}

 private:
  std::vector<double> observed_task_state(std::span<const double> qpos,
                                          std::span<const double> observation) const override {
    return moved_task_state(nail_, qpos, observation.subspan(kNail, 3));
  }

  std::vector<double> draw_task_state(RandomStream& rng) const override {
    return {original_task_state()[0], original_task_state()[1], rng.uniform(0.1, 0.25)};
  }

  StepResult judge() const override {
    const double* const hammer = body_position(hammer_);
    const double* const tool = site_position(tool_);
    const double* const nail = site_position(nail_);
    const double depth_left = mju_dist3(nail, site_position(goal_));
    StepResult result;
    result.reward = -0.1 * mju_dist3(site_position(palm_), hammer) - mju_dist3(tool, nail) -
                    10.0 * depth_left - 0.01 * mju_norm(data().qvel, model().nv);
    if (hammer[2] > 0.04 && tool[2] > 0.04) result.reward += 2.0;
    if (depth_left < 0.02) result.reward += 25.0;
    if (depth_left < 0.01) result.reward += 75.0;
    return result;
  }

  void write_observation(std::span<double> observation) const override {
    auto out = append(observation.begin(), data().qpos, model().nq - 6);
    for (int i = model().nv - 6; i < model().nv; ++i) {
      *out++ = std::clamp(data().qvel[i], -1.0, 1.0);
    }
    out = append(out, site_position(palm_));
    out = append(out, body_position(hammer_));
    out = append(out, euler_angles(data().xquat + 4 * hammer_).data());
    out = append(out, site_position(nail_));
    *out = std::clamp(data().sensordata[impact_], -1.0, 1.0);
  }

  int hammer_, palm_, tool_, nail_, goal_, impact_;
};

}  // namespace

std::unique_ptr<Environment> make_hammer(const EnvironmentOptions& options) {
  return std::make_unique<HammerEnvironment>(options.physics);
}

}  // namespace drop
