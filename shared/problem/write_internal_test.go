package problem

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Only what somebody has to look into is an error in the log.
func TestLevels(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want slog.Level
	}{
		"a fault":                {t.Context(), errors.New("no connection"), slog.LevelError},
		"switched off":           {t.Context(), ErrUnavailable.With("Tasks are switched off here."), slog.LevelWarn},
		"the client has hung up": {gone, errors.New("no connection"), slog.LevelInfo},
	} {
		r := httptest.NewRequestWithContext(c.ctx, http.MethodGet, "/", nil)
		if got := levelOf(r, c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
