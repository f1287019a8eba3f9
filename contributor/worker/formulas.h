#pragma once

#include <string>

#include "contributor/calibration/importance.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// The formula of a message; unspecified is the default.
inline Formula ToFormula(job::Calibrate::Formula formula) {
  switch (formula) {
    case job::Calibrate::WANDA:
      return Formula::kWanda;
    case job::Calibrate::REAP:
      return Formula::kReap;
    case job::Calibrate::TAYLOR:
      return Formula::kTaylor;
    default:
      return Formula::kWindowMean;
  }
}

// Its name, or nothing for an unspecified one: the first of a file.
inline std::string FormulaText(job::Calibrate::Formula formula) {
  return formula == job::Calibrate::FORMULA_UNSPECIFIED
             ? std::string()
             : std::string(FormulaName(ToFormula(formula)));
}

}  // namespace tributary::contributor
