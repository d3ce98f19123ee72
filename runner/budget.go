package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/graf-run/graf/runner/agent"
)

// Budget is the most that a run may use; 0 is no bound.
type Budget struct {
	Tokens float64
	USD    float64
}

// errNoPrice says that what a budget bounds cannot be told.
var errNoPrice = errors.New("no price")

// Price is what a million tokens of a model cost, in dollars.
type Price struct {
	Input  float64 `yaml:"input"`
	Cached float64 `yaml:"cachedInput"`
	Output float64 `yaml:"output"`
}

// Prices are those of models. A name that ends with * stands for all that begin so;
// the longest that fits counts.
type Prices map[string]Price

// ReadPrices reads a price list in YAML: see docs/runner.md.
func ReadPrices(file string) (Prices, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	prices, err := ParsePrices(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return prices, nil
}

// ParsePrices reads the text of a price list.
func ParsePrices(text string) (Prices, error) {
	var prices Prices
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&prices); err != nil && !errors.Is(err, io.EOF) { // which is an empty list
		return nil, fmt.Errorf("read the prices: %w", err)
	}
	for model, price := range prices {
		if price.Input < 0 || price.Cached < 0 || price.Output < 0 {
			return nil, fmt.Errorf("the price of model %s is below 0", model)
		}
	}
	return prices, nil
}

// of finds a model's price.
func (p Prices) of(model string) (Price, bool) {
	if price, known := p[model]; known {
		return price, true
	}
	var names []string
	for name := range p {
		if prefix, all := strings.CutSuffix(name, "*"); all && strings.HasPrefix(model, prefix) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return Price{}, false
	}
	return p[slices.MaxFunc(names, func(a, b string) int { return len(a) - len(b) })], true
}

// cost is what the usage cost, by its own word or by the list.
func (p Prices) cost(u agent.Usage) (float64, error) {
	if u.USD > 0 || u.Tokens() == 0 {
		return u.USD, nil
	}
	price, known := p.of(u.Model)
	if !known {
		return 0, fmt.Errorf("%w: model %q is not in the price list (--prices)", errNoPrice, u.Model)
	}
	const million = 1e6
	return (float64(u.Input-u.Cached)*price.Input + float64(u.Cached)*price.Cached + float64(u.Output)*price.Output) / million, nil
}

// spent says by what the usage is over the budget, "" if it is not.
func (b Budget) spent(u agent.Usage) string {
	switch {
	case b.Tokens > 0 && float64(u.Tokens()) >= b.Tokens:
		return fmt.Sprintf("%d of %.0f tokens are used", u.Tokens(), b.Tokens)
	case b.USD > 0 && u.USD >= b.USD:
		return fmt.Sprintf("$%.4f of $%.4f are spent", u.USD, b.USD)
	}
	return ""
}
