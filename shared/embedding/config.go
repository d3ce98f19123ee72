package embedding

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// Defaults of Config.
const (
	DefaultBaseURL    = "https://api.openai.com/v1"
	DefaultModel      = "text-embedding-3-large"
	DefaultBatchSize  = 256
	DefaultTimeout    = 15 * time.Second
	DefaultMaxRetries = 2
)

// MaxDimension is the most that Postgres stores and indexes (pgvector's halfvec).
const MaxDimension = 4000

// maxBatchSize is how many texts OpenAI takes in one call.
const maxBatchSize = 2048

// Config says which model to use and how. A zero field takes its default.
type Config struct {
	// APIKey may be empty for a server of one's own that asks for none.
	APIKey  string `env:"OPENAI_API_KEY"`
	BaseURL string `env:"OPENAI_BASE_URL"`
	Model   string `env:"OPENAI_EMBEDDING_MODEL"`
	// Dimension of the vectors; 0 is the model's own, which must be one of
	// OpenAI's. The text-embedding-3 models shorten their vectors on request;
	// of any other model it states what the model gives.
	Dimension int `env:"OPENAI_EMBEDDING_DIMENSION"`
	// BatchSize is the most texts in one call.
	BatchSize int `env:"GRAF_EMBEDDING_BATCH_SIZE"`
	// Timeout bounds one call, not its retries.
	Timeout time.Duration `env:"GRAF_EMBEDDING_TIMEOUT"`
	// MaxRetries is how often a call that failed is repeated; below 0 is never.
	MaxRetries int `env:"GRAF_EMBEDDING_MAX_RETRIES"`
	// MeterProvider gets the metrics; nil is OpenTelemetry's global one.
	MeterProvider metric.MeterProvider `env:"-"`
}

// LogValue keeps the key out of logs.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("baseUrl", c.BaseURL), slog.String("model", c.Model), slog.Int("dimension", c.Dimension))
}

// openAIModel is what is known of a model by its name.
type openAIModel struct {
	dimension int
	shortens  bool // gives fewer dimensions on request
}

var openAIModels = map[string]openAIModel{
	"text-embedding-3-large": {dimension: 3072, shortens: true},
	"text-embedding-3-small": {dimension: 1536, shortens: true},
	"text-embedding-ada-002": {dimension: 1536},
}

// complete fills in the defaults and checks the whole.
func (c Config) complete() (Config, error) {
	c.BaseURL = orDefault(c.BaseURL, DefaultBaseURL)
	c.Model = orDefault(c.Model, DefaultModel)
	c.BatchSize = orDefault(c.BatchSize, DefaultBatchSize)
	c.Timeout = orDefault(c.Timeout, DefaultTimeout)
	c.MaxRetries = orDefault(c.MaxRetries, DefaultMaxRetries)
	c.MaxRetries = max(c.MaxRetries, 0)
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return c, fmt.Errorf("OPENAI_BASE_URL must be an http or https URL such as %s", DefaultBaseURL)
	}
	if c.APIKey == "" && c.BaseURL == DefaultBaseURL {
		return c, fmt.Errorf("OPENAI_API_KEY is not set: %s needs one (or point OPENAI_BASE_URL at a server of your own)", DefaultBaseURL)
	}
	if c.BatchSize < 1 || c.BatchSize > maxBatchSize {
		return c, fmt.Errorf("GRAF_EMBEDDING_BATCH_SIZE is %d: use 1 to %d", c.BatchSize, maxBatchSize)
	}
	if c.Timeout < 0 {
		return c, fmt.Errorf("GRAF_EMBEDDING_TIMEOUT is %s: use a positive duration such as %s", c.Timeout, DefaultTimeout)
	}
	return c.withDimension()
}

func (c Config) withDimension() (Config, error) {
	const name = "OPENAI_EMBEDDING_DIMENSION"
	known, ok := openAIModels[c.Model]
	switch {
	case c.Dimension < 0 || c.Dimension > MaxDimension:
		return c, fmt.Errorf("%s is %d: use 1 to %d", name, c.Dimension, MaxDimension)
	case !ok && c.Dimension == 0:
		return c, fmt.Errorf("%s must be set: the dimension of the model %q is not known", name, c.Model)
	case !ok:
		return c, nil
	case c.Dimension == 0:
		c.Dimension = known.dimension
	case known.shortens && c.Dimension > known.dimension:
		return c, fmt.Errorf("%s is %d: %s gives at most %d", name, c.Dimension, c.Model, known.dimension)
	case !known.shortens && c.Dimension != known.dimension:
		return c, fmt.Errorf("%s is %d: %s always gives %d", name, c.Dimension, c.Model, known.dimension)
	}
	return c, nil
}

func orDefault[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Vectors tells the model whose vectors the configuration means, and their
// dimension, for a function that looks vectors up and makes none: it needs no key.
func (c Config) Vectors() (model string, dimension int, err error) {
	c.Model = orDefault(c.Model, DefaultModel)
	c, err = c.withDimension()
	return c.Model, c.Dimension, err
}
