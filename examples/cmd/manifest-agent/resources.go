package main

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/resource"
)

// tooSmall says that a limit is below the request for the same resource, which
// Kubernetes refuses.
type tooSmall struct {
	container, resource, limit, request string
}

// Error is read again by the next attempt: see failedLimit.
func (e *tooSmall) Error() string {
	return fmt.Sprintf("container %s: limits.%s %s is below requests.%s %s",
		e.container, e.resource, e.limit, e.resource, e.request)
}

// checkResources checks the requests and limits of every container, as the
// Kubernetes API would: they are quantities, and no limit is below its request.
func checkResources(value any) error {
	switch value := value.(type) {
	case manifest:
		return checkResources(map[string]any(value))
	case map[string]any:
		if resources, ok := value["resources"].(map[string]any); ok {
			if err := checkContainer(fmt.Sprint(value["name"]), resources); err != nil {
				return err
			}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if err := checkResources(value[key]); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range value {
			if err := checkResources(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkContainer(name string, resources map[string]any) error {
	limits, err := quantities(name, "limits", resources["limits"])
	if err != nil {
		return err
	}
	requests, err := quantities(name, "requests", resources["requests"])
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(limits)) {
		request, limit := requests[key], limits[key]
		if limit.Cmp(request) < 0 {
			return &tooSmall{container: name, resource: key, limit: limit.String(), request: request.String()}
		}
	}
	return nil
}

func quantities(container, list string, value any) (map[string]resource.Quantity, error) {
	entries, _ := value.(map[string]any)
	parsed := make(map[string]resource.Quantity, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		text := fmt.Sprint(entries[key])
		quantity, err := resource.ParseQuantity(text)
		if err != nil || quantity.Sign() < 0 {
			return nil, fmt.Errorf("container %s: %s.%s %q is no quantity, such as 500m or 256Mi", container, list, key, text)
		}
		parsed[key] = quantity
	}
	return parsed, nil
}
