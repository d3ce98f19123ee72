package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const megabyte = 1e6

// measureImages asks the nodes how large the images are that the functions use.
func measureImages(ctx context.Context, e *environment) error {
	sizes, err := e.imageSizes(ctx)
	if err != nil {
		return err
	}
	used := []coldFunction{{own, trivial}}
	for _, name := range functionNames {
		used = append(used, coldFunction{graf, "graf-" + name})
	}
	for _, f := range used {
		o, err := e.awaitReady(ctx, functions, f.namespace, f.name)
		if err != nil {
			return err
		}
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		container, ok := containers[0].(object)
		if !ok {
			return fmt.Errorf("function %s has no container", f.name)
		}
		size, known := sizes[fmt.Sprint(container["image"])]
		if !known {
			return fmt.Errorf("no node tells how large the image %v is: is nodeStatusMaxImages of the kubelet too small?", container["image"])
		}
		e.report.add("image of "+f.name, "MB", size/megabyte, &target{atMost: 45})
	}
	return nil
}

// imageSizes are the bytes of all images on the nodes, by each of their names.
func (e *environment) imageSizes(ctx context.Context) (map[string]float64, error) {
	all, err := e.cluster.nodes(ctx)
	if err != nil {
		return nil, err
	}
	sizes := map[string]float64{}
	for _, node := range all {
		images, _, _ := unstructured.NestedSlice(node.Object, "status", "images")
		for _, i := range images {
			image, ok := i.(object)
			if !ok {
				continue
			}
			bytes, _, _ := unstructured.NestedInt64(image, "sizeBytes")
			names, _, _ := unstructured.NestedStringSlice(image, "names")
			for _, name := range names {
				sizes[name] = float64(bytes)
			}
		}
	}
	return sizes, nil
}
