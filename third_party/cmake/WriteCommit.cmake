# cmake -DSOURCE=... -DOUT=... -P: writes the commit that is being built into a header.
execute_process(COMMAND git -C "${SOURCE}" rev-parse HEAD OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
set(dirty "unknown")
if(failed)
  set(commit "unknown")
else()
  execute_process(COMMAND git -C "${SOURCE}" status --porcelain --untracked-files=no
                  OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    set(dirty "true")
  else()
    set(dirty "false")
  endif()
endif()
file(CONFIGURE OUTPUT "${OUT}" CONTENT "#define DROP_COMMIT \"${commit}\"\n#define DROP_DIRTY \"${dirty}\"\n")
