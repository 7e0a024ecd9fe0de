//! Element types: codes of `TensorProto.DataType`, and the typed field that may hold each.

use normfold_ir::DType;

/// Every code with its type.
const CODES: [(i32, DType); 26] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (8, DType::Str),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (14, DType::C64),
    (15, DType::C128),
    (16, DType::BF16),
    (17, DType::F8E4M3FN),
    (18, DType::F8E4M3FNUZ),
    (19, DType::F8E5M2),
    (20, DType::F8E5M2FNUZ),
    (21, DType::U4),
    (22, DType::I4),
    (23, DType::F4E2M1),
    (24, DType::F8E8M0),
    (25, DType::U2),
    (26, DType::I2),
];

/// The type of a code; `None` for undefined and newer ones.
pub(crate) fn dtype_of(code: i32) -> Option<DType> {
    CODES.iter().find(|(c, _)| *c == code).map(|(_, d)| *d)
}

/// The code of a type.
pub(crate) fn dtype_code(dtype: DType) -> Option<i32> {
    CODES.iter().find(|(_, d)| *d == dtype).map(|(c, _)| *c)
}

/// The typed data field of a type: 4 float, 5 int32, 6 string, 7 int64, 10 double, 11 uint64.
pub(crate) fn typed_field(dtype: DType) -> Option<u32> {
    Some(match dtype {
        DType::F32 | DType::C64 => 4,
        DType::F64 | DType::C128 => 10,
        DType::I64 => 7,
        DType::U32 | DType::U64 => 11,
        DType::Str => 6,
        _ => 5,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_types_correspond() {
        for &dtype in DType::ALL {
            let code = dtype_code(dtype).unwrap();
            assert_eq!(dtype_of(code), Some(dtype));
        }
        assert_eq!(dtype_of(0), None);
        assert_eq!(dtype_of(99), None);
    }
}
