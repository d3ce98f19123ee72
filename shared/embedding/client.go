package embedding

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	openai "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"go.opentelemetry.io/otel/attribute"

	"github.com/graf-run/graf/shared/telemetry"
)

const (
	// maxBatchBytes bounds the texts of one call. OpenAI takes 300,000 tokens,
	// but small servers need seconds for a tenth of that.
	maxBatchBytes = 64 << 10
	// bytesPerNumber is more than any number of a vector takes in JSON.
	bytesPerNumber = 32
	// responseOverhead is more than the rest of a response takes.
	responseOverhead = 1 << 20
)

// Client embeds texts with one model. It is safe for concurrent use.
type Client struct {
	config  Config
	service openai.EmbeddingService
	metrics *metrics
	sleep   func(context.Context, time.Duration) error
}

// New returns a client; it does no I/O. The error names the variable to mend.
func New(config Config) (*Client, error) {
	c, err := config.complete()
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(c.MeterProvider, c.Model)
	if err != nil {
		return nil, err
	}
	options := []option.RequestOption{
		option.WithBaseURL(c.BaseURL),
		option.WithHTTPClient(&http.Client{}),
		// The client's own retries wait within one call's timeout.
		option.WithMaxRetries(0),
		option.WithMiddleware(limitResponse(responseOverhead + int64(c.BatchSize*c.Dimension*bytesPerNumber))),
	}
	if c.APIKey != "" {
		options = append(options, option.WithAPIKey(c.APIKey))
	}
	return &Client{config: c, service: openai.NewEmbeddingService(options...), metrics: m, sleep: sleep}, nil
}

// limitResponse keeps a provider from filling our memory.
func limitResponse(limit int64) option.Middleware {
	return func(request *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		response, err := next(request)
		if response != nil && response.Body != nil {
			response.Body = http.MaxBytesReader(nil, response.Body, limit)
		}
		return response, err
	}
}

// Model is the name of the model.
func (c *Client) Model() string { return c.config.Model }

// Dimension is the length of every vector.
func (c *Client) Dimension() int { return c.config.Dimension }

// Embed returns one vector per text, in their order. Texts are normalised, and
// clipped to MaxTextBytes; a blank one is ErrRejected. Embed repeats calls that
// fail, within ctx. Its error holds an *Error; there are no partial results.
func (c *Client) Embed(ctx context.Context, texts []string) (vectors [][]float32, err error) {
	ctx, span := telemetry.Start(ctx, "embed",
		attribute.String("model", c.config.Model), attribute.Int("texts", len(texts)))
	defer telemetry.End(span, &err)
	prepared := make([]string, len(texts))
	for i, text := range texts {
		if prepared[i] = Clip(Normalize(text)); prepared[i] == "" {
			return nil, rejected(0, fmt.Errorf("text %d of %d is blank", i+1, len(texts)))
		}
	}
	vectors = make([][]float32, 0, len(texts))
	for len(prepared) > 0 {
		n := batchLength(prepared, c.config.BatchSize)
		batch, err := c.embedBatch(ctx, prepared[:n])
		if err != nil {
			return nil, err
		}
		vectors = append(vectors, batch...)
		prepared = prepared[n:]
	}
	return vectors, nil
}

// batchLength is how many of the texts make the next call: at least one.
func batchLength(texts []string, most int) int {
	size := 0
	for i, text := range texts {
		if size += len(text); i == most || (i > 0 && size > maxBatchBytes) {
			return i
		}
	}
	return len(texts)
}

// embedBatch repeats call until it succeeds or is not worth it any more.
func (c *Client) embedBatch(ctx context.Context, texts []string) ([][]float32, error) {
	for n := 0; ; n++ {
		vectors, failure := c.call(ctx, texts)
		if failure == nil {
			return vectors, nil
		}
		pause, again := failure.wait(ctx, n)
		if !again || n >= c.config.MaxRetries {
			return nil, failure
		}
		if err := c.sleep(ctx, pause); err != nil {
			return nil, errors.Join(failure, err)
		}
	}
}

// call asks the provider once.
func (c *Client) call(ctx context.Context, texts []string) (_ [][]float32, failure *Error) {
	started := time.Now()
	defer func() { c.metrics.record(ctx, time.Since(started), failure) }()
	limited, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var response *http.Response
	result, err := c.service.New(limited, c.params(texts), option.WithResponseInto(&response))
	if err != nil {
		return nil, classify(ctx, response, err)
	}
	return c.check(result, len(texts))
}

func (c *Client) params(texts []string) openai.EmbeddingNewParams {
	params := openai.EmbeddingNewParams{
		Model: c.config.Model,
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts},
		// Exact, and a quarter of the bytes; a server that knows only numbers
		// sends these, and they are read as well.
		EncodingFormat: openai.EmbeddingNewParamsEncodingFormatBase64,
	}
	// Models that cannot shorten their vectors refuse the parameter.
	if known := openAIModels[c.config.Model]; known.shortens && c.config.Dimension != known.dimension {
		params.Dimensions = openai.Int(int64(c.config.Dimension))
	}
	return params
}

// check puts the vectors in order and refuses what pgvector could not store or
// compare.
func (c *Client) check(result *openai.CreateEmbeddingResponse, count int) ([][]float32, *Error) {
	if len(result.Data) != count {
		return nil, unusable("the provider answered %d texts with %d vectors", count, len(result.Data))
	}
	vectors := make([][]float32, count)
	for _, item := range result.Data {
		if item.Index < 0 || item.Index >= int64(count) || vectors[item.Index] != nil {
			return nil, unusable("the provider answered with a wrong or repeated index %d", item.Index)
		}
		vector, err := decode(item)
		if err != nil {
			return nil, unusable("vector %d of %d: %w", item.Index+1, count, err)
		}
		if len(vector) != c.config.Dimension {
			return nil, misconfigured(0, fmt.Errorf("%s gave a vector of %d dimensions, want %d: set OPENAI_EMBEDDING_DIMENSION to what the model gives",
				c.config.Model, len(vector), c.config.Dimension))
		}
		if err := checkDirection(vector); err != nil {
			return nil, rejected(0, fmt.Errorf("text %d of %d: %w", item.Index+1, count, err))
		}
		vectors[item.Index] = vector
	}
	return vectors, nil
}
