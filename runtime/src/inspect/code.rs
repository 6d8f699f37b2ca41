//! Validates a component, and bounds what its functions ask of the compiler.
//!
//! A compiler keeps, for each place where control can come from elsewhere, what each live value is there. Its work
//! grows with the product of the two, and a function of 64 KiB can have thirty thousand of either.

use wasmparser::{
    FuncToValidate, FuncValidator, FuncValidatorAllocations, FunctionBody, Operator, OperatorsReader, Parser,
    ValidPayload, Validator, ValidatorResources, WasmModuleResources,
};

use super::{features, malformed};
use crate::LoadError;

/// Values times branches of one function (95,000 in ours).
const MAX_FUNCTION_COST: u64 = 500_000;
/// The same over all functions (266,000 in ours).
const MAX_COST: u64 = 2_000_000;
/// Blocks inside blocks (47 in ours).
const MAX_NESTING: u32 = 500;

/// Structure has been checked before, so that the validator's own work is bounded too.
pub(super) fn validate(component: &[u8]) -> Result<(), LoadError> {
    let mut validator = Validator::new_with_features(features());
    let mut allocations = FuncValidatorAllocations::default();
    let mut total = 0_u64;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(malformed)?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload).map_err(malformed)? {
            let (cost, kept) = validate_function(function, &body, allocations)?;
            allocations = kept;
            total = total.saturating_add(cost);
            check_cost(total, MAX_COST, "the functions together have")?;
        }
    }
    Ok(())
}

/// The function's cost, and its allocations for the next one.
fn validate_function(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody,
    allocations: FuncValidatorAllocations,
) -> Result<(u64, FuncValidatorAllocations), LoadError> {
    let mut function = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    function.read_locals(&mut reader).map_err(malformed)?;
    reader.set_features(features());
    let mut operators = OperatorsReader::new(reader);
    let (mut branches, mut height) = (1_u64, 0);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset().map_err(malformed)?;
        function.op(offset, &operator).map_err(malformed)?;
        branches += branches_of(&operator);
        height = height.max(function.operand_stack_height());
        if function.control_stack_height() > MAX_NESTING {
            let blocks = format!("more than {MAX_NESTING} blocks inside each other");
            return Err(LoadError::TooComplex(blocks));
        }
    }
    operators.finish().map_err(malformed)?;
    let cost = values(&function, height).saturating_mul(branches);
    check_cost(cost, MAX_FUNCTION_COST, "a function has")?;
    Ok((cost, function.into_allocations()))
}

fn values<T: WasmModuleResources>(function: &FuncValidator<T>, height: u32) -> u64 {
    u64::from(function.len_locals()) + u64::from(height)
}

/// Places that control can go to from here.
fn branches_of(operator: &Operator) -> u64 {
    match operator {
        Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } | Operator::Else => 1,
        Operator::Br { .. } | Operator::BrIf { .. } => 1,
        Operator::BrTable { targets } => u64::from(targets.len()) + 1,
        _ => 0,
    }
}

fn check_cost(cost: u64, limit: u64, whose: &str) -> Result<(), LoadError> {
    if cost > limit {
        Err(LoadError::TooComplex(format!(
            "{whose} {cost} values times branches; allowed: at most {limit}"
        )))
    } else {
        Ok(())
    }
}
