#include "env/adroit.h"

namespace drop {

namespace {

// in the observation: from ball to palm, from target to palm
constexpr int kFromBall = 30;
constexpr int kFromTarget = 33;

// carry a ball to a place in the air
class RelocateEnvironment final : public AdroitEnvironment {
 public:
  explicit RelocateEnvironment(Physics physics)
      : AdroitEnvironment({"relocate",
                           39,
                           30,
                           200,
                           {{"infos/obj_pos", mjOBJ_BODY, "Object", false, true},
                            {"infos/target_pos", mjOBJ_SITE, "target"}}},
                          physics),
        ball_(id_of(mjOBJ_BODY, "Object")),
        palm_(id_of(mjOBJ_SITE, "S_grasp")),
        target_(id_of(mjOBJ_SITE, "target")) {}

 private:
  std::vector<double> observed_task_state(std::span<const double> qpos,
                                          std::span<const double> observation) const override {
    // the ball's coordinates count from where the episode began
    const std::array<double, 3> palm = site_position_at(palm_, qpos);
    const size_t moved = qpos.size() - 6;
    std::vector<double> values(6);
    for (size_t i = 0; i < 3; ++i) {
      values[i] = palm[i] - observation[kFromBall + i] - qpos[moved + i];
      values[3 + i] = palm[i] - observation[kFromTarget + i];
    }
    return values;
  }

  std::vector<double> draw_task_state(RandomStream& rng) const override {
    const double ball_x = rng.uniform(-0.15, 0.15);
    const double ball_y = rng.uniform(-0.15, 0.3);
    const double target_x = rng.uniform(-0.2, 0.2);
    const double target_y = rng.uniform(-0.2, 0.2);
    const double target_z = rng.uniform(0.15, 0.35);
    return {ball_x, ball_y, original_task_state()[2], target_x, target_y, target_z};
  }

  StepResult judge() const override {
    const double* const ball = body_position(ball_);
    const double* const palm = site_position(palm_);
    const double* const target = site_position(target_);
    const double distance = mju_dist3(ball, target);
    StepResult result;
    result.reward = -0.1 * mju_dist3(palm, ball);
    if (ball[2] > 0.04) result.reward += 1.0 - 0.5 * mju_dist3(palm, target) - 0.5 * distance;
    if (distance < 0.1) result.reward += 10.0;
    if (distance < 0.05) result.reward += 20.0;
    return result;
  }

  void write_observation(std::span<double> observation) const override {
    const double* const ball = body_position(ball_);
    const double* const palm = site_position(palm_);
    const double* const target = site_position(target_);
    auto out = append(observation.begin(), data().qpos, model().nq - 6);
    out = append_difference(out, palm, ball);
    out = append_difference(out, palm, target);
    append_difference(out, ball, target);
  }

  int ball_, palm_, target_;
};

}  // namespace

std::unique_ptr<Environment> make_relocate(const EnvironmentOptions& options) {
  return std::make_unique<RelocateEnvironment>(options.physics);
}

}  // namespace drop
