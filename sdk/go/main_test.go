package graf_test

import (
	"os"
	"testing"

	"github.com/graf-run/graf/sdk/go/graftest"
)

// TestMain has all tests and examples run beside a platform of their own.
func TestMain(m *testing.M) {
	os.Exit(graftest.Run(m, "GRAF_STREAM_POLL=200ms", "GRAF_RATE_LIMIT_PER_SECOND=2000", "GRAF_RATE_LIMIT_BURST=4000"))
}
