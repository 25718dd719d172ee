#include "env/mujoco_simulation.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "drop/base/error.h"
#include "support/paths.h"

namespace drop {
namespace {

// a mass of 1 kg on a rail, pushed by a motor
constexpr const char* kRail = R"(<mujoco><option gravity="0 0 0" timestep="0.01"/>
<worldbody><body><inertial mass="1" pos="0 0 0" diaginertia="1 1 1"/>
<joint name="x" type="slide" axis="1 0 0"/></body></worldbody>
<actuator><motor joint="x" gear="2"/></actuator></mujoco>)";

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const RunError& error) {
    return error.what();
  }
  return "";
}

TEST(MujocoSimulation, StepsWithConstantForce) {
  MujocoSimulation simulation(compile_mjcf(kRail, "rail"));
  const std::array<double, 1> zero = {0.0};
  const std::array<double, 1> push = {1.5};
  simulation.set_state(zero, zero);
  simulation.step(push, 10);
  // semi-implicit Euler with acceleration 3: v = 3 t, x = sum of dt v
  EXPECT_NEAR(simulation.qvel()[0], 3.0 * 0.1, 1e-12);
  EXPECT_NEAR(simulation.qpos()[0], 3.0 * 0.01 * 0.01 * 55, 1e-12);
}

TEST(MujocoSimulation, StepsWithClippedVelocity) {
  MujocoSimulation simulation(compile_mjcf(kRail, "rail"));
  const std::array<double, 1> fast = {-7.0};
  const std::array<double, 1> rest = {0.0};
  simulation.set_state(fast, fast);
  simulation.step_with_clipped_velocity(rest, 5.0);
  EXPECT_EQ(simulation.qvel()[0], -5.0);
  EXPECT_NEAR(simulation.qpos()[0], -7.05, 1e-12);
}

TEST(MujocoSimulation, SharesTheModelsThatAreInUse) {
  const MujocoModel first = compile_mjcf(kRail, "rail");
  EXPECT_EQ(compile_mjcf(kRail, "another name"), first);
  EXPECT_NE(compile_mjcf(std::string(kRail) + "<!-- other text -->", "rail"), first);
}

TEST(MujocoSimulation, RefusesBadModels) {
  const std::string not_xml = message_of([] { compile_mjcf("<mujoco>", "broken"); });
  EXPECT_NE(not_xml.find("broken: MuJoCo cannot read"), std::string::npos) << not_xml;
  const std::string no_joint = message_of([] {
    compile_mjcf("<mujoco><actuator><motor joint=\"nowhere\"/></actuator></mujoco>", "loose");
  });
  EXPECT_NE(no_joint.find("loose: MuJoCo cannot compile"), std::string::npos) << no_joint;
  EXPECT_EQ((not_xml + no_joint).find('\n'), std::string::npos);
}

TEST(MujocoSimulation, TurnsMujocoErrorsIntoExceptions) {
  MujocoSimulation simulation(compile_mjcf(kRail, "rail"));
  // straight, and from inside the engine: a stack request that cannot be met; each time
  mjData* data = mj_makeData(&simulation.model());
  for (int attempt = 0; attempt < 3; ++attempt) {
    EXPECT_THROW(mju_error("made up"), RunError);
    EXPECT_THROW(mj_stackAllocNum(data, size_t{1} << 40), RunError);
  }
  mj_deleteData(data);
}

TEST(MujocoSimulation, TurnsInstabilityIntoAnExceptionAndRecovers) {
  const testing::TemporaryFolder folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  MujocoSimulation simulation(compile_mjcf(kRail, "rail"));
  const std::array<double, 1> zero = {0.0};
  const std::array<double, 1> huge = {1e300};
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();

  // each time, not only the first
  std::vector<std::string> messages;
  for (int attempt = 0; attempt < 2; ++attempt) {
    simulation.set_state(zero, zero);
    messages.push_back(message_of([&] { simulation.step(huge, 3); }));
    simulation.set_state(zero, huge);
    messages.push_back(message_of([&] { simulation.step(zero, 1); }));
  }
  // as good as new afterwards
  simulation.set_state(zero, zero);
  const std::array<double, 1> push = {1.5};
  simulation.step(push, 10);
  EXPECT_NEAR(simulation.qvel()[0], 0.3, 1e-12);

  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  std::filesystem::current_path(before);
  for (size_t i = 0; i < messages.size(); ++i) {
    EXPECT_NE(messages[i].find("MuJoCo warning"), std::string::npos) << i << messages[i];
    EXPECT_EQ(messages[i].find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace drop
