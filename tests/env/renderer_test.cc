#include "drop/env/renderer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <vector>

#include "drop/base/error.h"
#include "env/gl_context.h"

namespace drop {
namespace {

constexpr int kWidth = 96;
constexpr int kHeight = 64;
using Picture = std::vector<uint8_t>;

std::unique_ptr<Environment> started(const std::string& task) {
  auto environment = EnvironmentRegistry::instance().make(task);
  RandomStream rng(3, "env");
  std::vector<double> observation(static_cast<size_t>(environment->info().state_dim));
  environment->reset(rng, observation);
  return environment;
}

void step(Environment& environment, RandomStream& rng) {
  std::vector<double> action(static_cast<size_t>(environment.info().action_dim));
  std::vector<double> observation(static_cast<size_t>(environment.info().state_dim));
  for (double& a : action) a = rng.uniform(-1.0, 1.0);
  environment.step(action, observation);
}

Picture draw(Renderer& renderer, const Environment& environment, const std::string& caption = "") {
  Picture picture(static_cast<size_t>(kWidth) * kHeight * 3);
  renderer.render(environment, picture, caption);
  return picture;
}

std::array<int, 3> pixel(const Picture& picture, int row, int column) {
  const size_t at = (static_cast<size_t>(row) * kWidth + static_cast<size_t>(column)) * 3;
  return {picture[at], picture[at + 1], picture[at + 2]};
}

// pixels whose red outweighs their blue by far: the robots and the ball
int orange_pixels(const Picture& picture) {
  int count = 0;
  for (size_t at = 0; at < picture.size(); at += 3) count += picture[at] > picture[at + 2] + 60;
  return count;
}

class RendererTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      make_gl_context();
    } catch (const RunError& error) {
      const std::string message = error.what();
      ASSERT_NE(message.find("nothing here can draw"), std::string::npos) << message;
      GTEST_SKIP() << message;
    }
  }
};

TEST_F(RendererTest, PicturesShowTheState) {
  for (const std::string task : {"hopper", "maze2d-medium", "antmaze-umaze"}) {
    const auto environment = started(task);
    Renderer renderer(*environment, kWidth, kHeight);
    const Picture first = draw(renderer, *environment);
    EXPECT_EQ(first, draw(renderer, *environment)) << task;
    std::set<std::array<int, 3>> colours;
    for (int row = 0; row < kHeight; ++row) {
      for (int column = 0; column < kWidth; ++column) colours.insert(pixel(first, row, column));
    }
    EXPECT_GT(colours.size(), 30u) << task;
    EXPECT_GT(orange_pixels(first), 0) << task;

    RandomStream rng(4, "actions");
    for (int t = 0; t < 10; ++t) step(*environment, rng);
    EXPECT_NE(first, draw(renderer, *environment)) << task;
    // another renderer agrees
    Renderer second(*environment, kWidth, kHeight);
    EXPECT_EQ(draw(renderer, *environment), draw(second, *environment)) << task;
  }
}

TEST_F(RendererTest, TheTopRowComesFirst) {
  const auto hopper = started("hopper");
  Renderer renderer(*hopper, kWidth, kHeight);
  const Picture picture = draw(renderer, *hopper);
  // the sky is brighter than the floor
  EXPECT_GT(pixel(picture, 0, 5)[1], pixel(picture, kHeight - 1, 5)[1] + 30);

  // a caption is seen in the upper half only
  const Picture captioned = draw(renderer, *hopper, "step 1");
  EXPECT_NE(captioned, picture);
  EXPECT_TRUE(std::equal(picture.begin() + kWidth * kHeight * 3 / 2, picture.end(),
                         captioned.begin() + kWidth * kHeight * 3 / 2));
}

TEST_F(RendererTest, AMazeLiesAsItsLayoutIsWritten) {
  // the large maze's rows are x, downwards, its columns y, to the right
  const auto maze = EnvironmentRegistry::instance().make("maze2d-large");
  Renderer renderer(*maze, kWidth, kHeight);
  std::array<double, 4> observation{};
  const auto centre_of_ball = [&](double x, double y) {
    maze->set_state(std::array{x, y}, std::array{0.0, 0.0}, observation);
    const Picture picture = draw(renderer, *maze);
    double rows = 0.0;
    double columns = 0.0;
    int count = 0;
    for (int row = 0; row < kHeight; ++row) {
      for (int column = 0; column < kWidth; ++column) {
        const auto colour = pixel(picture, row, column);
        if (colour[0] <= colour[2] + 30) continue;
        rows += row;
        columns += column;
        ++count;
      }
    }
    EXPECT_GT(count, 0) << x << " " << y;
    return std::array{rows / count, columns / count};
  };
  const auto top_left = centre_of_ball(1.0, 1.0);
  const auto top_right = centre_of_ball(1.0, 10.0);
  const auto bottom_left = centre_of_ball(7.0, 1.0);
  EXPECT_GT(top_right[1], top_left[1] + kWidth / 2.0);
  EXPECT_NEAR(top_right[0], top_left[0], 3.0);
  EXPECT_GT(bottom_left[0], top_left[0] + kHeight / 3.0);
  EXPECT_NEAR(bottom_left[1], top_left[1], 4.0);
}

TEST_F(RendererTest, LeavesThePhysicsAlone) {
  // with contacts and warm starts, to the last bit
  const auto shown = started("hopper");
  const auto alone = started("hopper");
  Renderer renderer(*shown, kWidth, kHeight);
  RandomStream one(5, "actions");
  RandomStream two(5, "actions");
  for (int t = 0; t < 12; ++t) {
    draw(renderer, *shown);
    step(*shown, one);
    step(*alone, two);
    ASSERT_EQ(shown->qpos(), alone->qpos()) << t;
    ASSERT_EQ(shown->qvel(), alone->qvel()) << t;
  }
}

TEST_F(RendererTest, RefusesWhatItCannotDraw) {
  const auto hopper = started("hopper");
  EXPECT_THROW(Renderer(*hopper, 8, 64), UsageError);
  EXPECT_THROW(Renderer(*hopper, 64, 5000), UsageError);
  Renderer renderer(*hopper, kWidth, kHeight);
  Picture picture(12);
  EXPECT_THROW(renderer.render(*hopper, picture), RunError);
  picture.resize(static_cast<size_t>(kWidth) * kHeight * 3);
  EXPECT_THROW(renderer.render(*started("maze2d-umaze"), picture), RunError);

  class Abstract final : public Environment {
    const TaskInfo& info() const override { return info_; }
    void reset(RandomStream&, std::span<double>) override {}
    StepResult step(std::span<const double>, std::span<double>) override { return {}; }
    std::vector<double> qpos() const override { return {}; }
    std::vector<double> qvel() const override { return {}; }
    void set_state(std::span<const double>, std::span<const double>, std::span<double>) override {}
    TaskInfo info_;
  };
  EXPECT_THROW(Renderer(Abstract(), kWidth, kHeight), RunError);
  EXPECT_THROW(renderer.render(Abstract(), picture), RunError);
}

// a process of its own, since a process keeps the library that it has found: draws, and ends with
// the error's message and status
void draw_and_exit(const char* gl, const char* egl_drivers) {
  if (gl != nullptr) ::setenv("DROP_GL", gl, 1);
  if (egl_drivers != nullptr) ::setenv("__EGL_VENDOR_LIBRARY_FILENAMES", egl_drivers, 1);
  try {
    const auto hopper = started("hopper");
    Renderer renderer(*hopper, kWidth, kHeight);
    ::_exit(orange_pixels(draw(renderer, *hopper)) > 0 ? 0 : 99);
  } catch (const Error& error) {
    std::fputs(error.what(), stderr);
    ::_exit(static_cast<int>(error.status()));
  }
}

TEST(GlContext, DropGlDecidesAndErrorsSayWhatWasTried) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(draw_and_exit("directx", nullptr), ::testing::ExitedWithCode(2),
              "DROP_GL: found \"directx\", allowed: egl, osmesa");
  EXPECT_EXIT(draw_and_exit("egl", "/nonexistent"), ::testing::ExitedWithCode(1),
              "EGL: .*libEGL.so.1.*apt-get install.*unset DROP_GL");
  // each way draws, or says that it is not there
  const auto drew_or_said = [](int status) {
    return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 1);
  };
  EXPECT_EXIT(draw_and_exit("osmesa", nullptr), drew_or_said, "^$|OSMesa: no libOSMesa.so.8");
  EXPECT_EXIT(draw_and_exit("egl", nullptr), drew_or_said, "^$|EGL: ");
  EXPECT_EXIT(draw_and_exit(nullptr, "/nonexistent"), drew_or_said, "^$|EGL: .*; OSMesa: no lib");
}

}  // namespace
}  // namespace drop
