// Something of everything.
module @"sample net" {source = "onnx", opset = [["", 17]]} {
  graph @main(%x: tensor<?{N}x?x3xf32>, %c "cond": tensor<bool>) -> (%y: tensor<*xf32>, %"z/0") {
    %k = constant dense<[0.5, -1e-5, 0x7fc00000]> {binding = mutable} : tensor<3xf32> "k"
    %w = constant blob<sha 3f9a1c02d4e7b815> : tensor<2x3xf32>
    %r = constant resource<0> : tensor<2xi8>
    %d = constant derived(splat<1.0> : tensor<4xf16>, scale(map[1:4/2*1], dense<[1, 2]> : tensor<2xf64>), broadcast[2, 4]) : tensor<2x4xf16>
    %0, %1 as "twice" = dropout %x, none {training = true} "drop" : (tensor<*xf32>, unknown)
    %y = if %c captures(%0, %k) : tensor<*xf32>
      body @then() captures(%a: tensor<*xf32>) -> (tensor<*xf32>) {
        return %a
      }
      body @else() captures(%k from 1: unknown) -> (%e) {
        %e = opaque "com.x"::"Foo" pure type_uses(0) quantized %k {a = word<"true">, b = bytes<"00ff">, c = [1, [2.5f]], t = type<other<"é">>}
        return %e
      }
    return %y, %1
  }
  function @f(%q) {
    return %q
  }
  resources {
    0 = "00ff"
  }
}
