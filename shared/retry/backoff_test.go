package retry

import (
	"math"
	"testing"
	"testing/quick"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	config := Config{Base: time.Second, Max: 10 * time.Second}
	full := config
	full.Jitter = FullJitter
	for _, test := range []struct {
		config   Config
		failures int
		random   float64
		want     time.Duration
	}{
		{config, 1, 0, 500 * time.Millisecond},
		{config, 1, 0.5, 750 * time.Millisecond},
		{config, 3, 0.5, 3 * time.Second},
		{config, 4, 0, 4 * time.Second},
		{config, 5, 0, 5 * time.Second},
		{config, math.MaxInt, 0.5, 7500 * time.Millisecond},
		{config, 0, 0, 500 * time.Millisecond},
		{full, 1, 0, 0},
		{full, 2, 0.5, time.Second},
		{full, 900, 0.5, 5 * time.Second},
	} {
		if got := Backoff(test.failures, test.config, func() float64 { return test.random }); got != test.want {
			t.Errorf("Backoff(%d, %s, %v) = %v, want %v", test.failures, test.config.Jitter, test.random, got, test.want)
		}
	}
}

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	config := DefaultConfig()
	within := func(failures uint16, random uint32) bool {
		delay := Backoff(int(failures), config, func() float64 { return float64(random) / (1 << 32) })
		return delay >= config.Base/2 && delay <= config.Max
	}
	if err := quick.Check(within, nil); err != nil {
		t.Error(err)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	for name, spoil := range map[string]func(*Config){
		"base":       func(c *Config) { c.Base = 0 },
		"max":        func(c *Config) { c.Max = c.Base - 1 },
		"jitter":     func(c *Config) { c.Jitter = "none" },
		"attempts":   func(c *Config) { c.MaxAttempts = 0 },
		"visibility": func(c *Config) { c.Visibility = 0 },
		"dead":       func(c *Config) { c.DeadLimit = 0 },
	} {
		config := DefaultConfig()
		spoil(&config)
		if config.Validate() == nil {
			t.Errorf("a bad %s is taken for valid", name)
		}
	}
}
