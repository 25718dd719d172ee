#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>

#include "drop/base/error.h"
#include "drop/base/files.h"
#include "drop/log/metrics.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::HasSubstr;

constexpr const char* kHeader = "step,wall_time_s,name,value\n";

class CsvSink : public ::testing::Test {
 protected:
  void given(const std::string& text) { write_file_atomically(path_, std::string_view(text)); }
  std::string content() const { return read_text_file(path_); }

  testing::TemporaryFolder folder_;
  std::string path_ = folder_.file("metrics.csv");
};

TEST_F(CsvSink, WritesOneLineForEachValue) {
  auto sink = make_csv_sink(path_, 0);
  EXPECT_EQ(content(), kHeader);
  sink->write(0, 0, {{"loss/td", 0.5}});
  sink->write(100, 12.25, {{"loss/td", 1e-9}, {"multiplier", 3}});
  sink->write(200, 13, {});
  sink->flush();
  EXPECT_EQ(content(), std::string(kHeader) +
                           "0,0,loss/td,0.5\n100,12.25,loss/td,1e-09\n100,12.25,multiplier,3\n");
}

TEST_F(CsvSink, ValuesReadBackAsTheSameDouble) {
  const double values[] = {0.1 + 0.2, 1.0 / 3.0, -0.0, 5e-324, std::numeric_limits<double>::max()};
  auto sink = make_csv_sink(path_, 0);
  for (const double value : values) sink->write(1, 0, {{"v", value}});
  const double infinity = std::numeric_limits<double>::infinity();
  sink->write(1, 0, {{"v", infinity}, {"v", -infinity}, {"v", -std::nan("")}});
  sink->flush();
  std::string text = content();
  for (const double value : values) {
    const size_t comma = text.find(",v,");
    ASSERT_NE(comma, std::string::npos);
    text.erase(0, comma + 3);
    const double read = std::strtod(text.c_str(), nullptr);
    EXPECT_EQ(read, value);
    EXPECT_EQ(std::signbit(read), std::signbit(value));
  }
  EXPECT_THAT(text, HasSubstr("1,0,v,inf\n1,0,v,-inf\n1,0,v,nan\n"));
}

TEST_F(CsvSink, ResumeDropsLaterStepsAndKeepsTheRest) {
  given(std::string(kHeader) + "100,1,a,1\n200,2,a,nan\n200,2,b,-inf\n300,3,a,3\n1000,9,a,9\n");
  auto sink = make_csv_sink(path_, 200);
  EXPECT_EQ(content(), std::string(kHeader) + "100,1,a,1\n200,2,a,nan\n200,2,b,-inf\n");
  sink->write(300, 3.5, {{"a", 4}});
  sink->flush();
  EXPECT_EQ(content(),
            std::string(kHeader) + "100,1,a,1\n200,2,a,nan\n200,2,b,-inf\n300,3.5,a,4\n");
}

TEST_F(CsvSink, WhatIsSaidAgainOfTheResumedStepStaysOneRow) {
  const std::string there = std::string(kHeader) + "100,1,a,1\n200,2,a,1\n";
  given(there);
  auto sink = make_csv_sink(path_, 200);
  // the same value again, another value, another name; and the same of another step
  sink->write(200, 5, {{"a", 1}, {"a", 2}, {"b", 1}});
  sink->write(300, 6, {{"a", 1}});
  sink->flush();
  EXPECT_EQ(content(), there + "200,5,a,2\n200,5,b,1\n300,6,a,1\n");
}

TEST_F(CsvSink, ResumeDropsATornLastLineEvenIfItLooksWhole) {
  // "0.12" may be the beginning of 0.125
  given(std::string(kHeader) + "100,1,a,1\n200,2,a,0.12");
  make_csv_sink(path_, 500);
  EXPECT_EQ(content(), std::string(kHeader) + "100,1,a,1\n");
  for (const char* torn : {"2", "200", "200,", "200,2,a", "200,2,a,", "200,2,a,0x\n", "\n", ",,,\n",
                           "200,x,a,1\n", "200,1,,1\n", "200,2,a,1,5\n"}) {
    given(std::string(kHeader) + "100,1,a,1\n" + torn);
    make_csv_sink(path_, 500);
    EXPECT_EQ(content(), std::string(kHeader) + "100,1,a,1\n") << torn;
  }
}

TEST_F(CsvSink, ResumeHealsATornHeaderAndAnEmptyFile) {
  for (const char* torn : {"", "st", "step,wall_time_s,name,value"}) {
    given(torn);
    make_csv_sink(path_, 500);
    EXPECT_EQ(content(), kHeader);
  }
}

TEST_F(CsvSink, AForeignFileIsLeftAlone) {
  given("time,loss\n1,2\n");
  EXPECT_THROW(make_csv_sink(path_, 0), DataError);
  EXPECT_EQ(content(), "time,loss\n1,2\n");
}

TEST_F(CsvSink, NamesThatWouldBreakTheFileAreRefused) {
  auto sink = make_csv_sink(path_, 0);
  for (const char* name : {"", "a,b", "a\nb", "a\"b", "a\rb"}) {
    EXPECT_THROW(sink->write(1, 0, {{"good", 1}, {name, 1}}), RunError) << name;
  }
  sink->flush();
  EXPECT_EQ(content(), kHeader) << "no half of a refused row";
}

TEST_F(CsvSink, AMissingFolderIsARunError) {
  EXPECT_THROW(make_csv_sink(folder_.path() / "missing" / "metrics.csv", 0), RunError);
}

}  // namespace
}  // namespace drop
